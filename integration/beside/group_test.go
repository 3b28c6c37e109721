package beside

// group is a configuration that scripts run under, said once for each router.
type group struct {
	name    string
	ours    string   // tables of natrouter's configuration
	sysctls []string // of the kernel
	mtu     int      // bytes, of wan0; 0: 1500
	ports   string   // outside ports, 0: all
	errors  int      // ICMP errors a second that natrouter makes, 0: no limit
}

var groups = []group{
	{name: "default"},
	// As near to the kernel as natrouter can be told to be: a mapping a peer, and only that peer may answer.
	{name: "strict", ours: "[nat_defaults]\nmapping = \"address-and-port-dependent\"\nfiltering = \"address-and-port-dependent\"\n"},
	{name: "careful", ours: "[conntrack]\ntcp_loose = false\n", sysctls: []string{"net/netfilter/nf_conntrack_tcp_loose=0"}},
	{name: "liberal", ours: "[conntrack]\ntcp_liberal = true\n", sysctls: []string{"net/netfilter/nf_conntrack_tcp_be_liberal=1"}},
	{name: "mtu", mtu: 1400},
	{name: "text"}, // as default, with few scripts: what arrives shows addresses in part, so they must not change
	{name: "narrow", ports: "40000"},
	{name: privateGroup}, // as default, as labs, carriers and VPN appliances have it
}

// privateGroup is the group whose scripts have private outside addresses.
const privateGroup = "private"

func (g *group) wanMTU() int {
	if g.mtu == 0 {
		return 1500
	}
	return g.mtu
}
