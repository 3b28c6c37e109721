package ftp

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
)

// server is a running FTP server. It serves dir, where everybody may upload into up.
type server struct {
	name string
	port uint16
	user string
	dir  string
	file []byte // what is in the file "down"
}

// password is everybody's.
const password = "guess"

// kind is a sort of server.
type kind struct {
	name string
	port uint16
	user string
	// clients are those that go to it, beside curl.
	clients []string
	// command returns what runs it on an address, with a folder for what it needs. outside, unless zero, is the address
	// that it tells passive clients.
	command func(t *testing.T, s *server, at netip.AddrPort, outside netip.Addr) []string
}

var kinds = []kind{
	{"vsftpd", vsftpdPort, "anonymous", []string{"lftp", "tnftp"}, vsftpd},
	{"proftpd", proftpdPort, "anonymous", nil, proftpd}, // it pauses for 0.4 s after each session
	{"pure-ftpd", pureftpdPort, "tester", []string{"lftp", "tnftp"}, pureftpd},
}

// vsftpdConfig serves anonymous users; its words in braces are replaced. It changes to the user's home folder before it
// goes to anon_root, so it needs a user who has one.
const vsftpdConfig = `
listen={4}
listen_ipv6={6}
listen_address{suffix}={addr}
listen_port={port}
background=NO
anonymous_enable=YES
local_enable=NO
write_enable=YES
anon_upload_enable=YES
anon_world_readable_only=NO
anon_umask=022
ftp_username=daemon
nopriv_user=nobody
anon_root={dir}
secure_chroot_dir={own}
connect_from_port_20=YES
max_per_ip=0
xferlog_enable=NO
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
`

func vsftpd(t *testing.T, s *server, at netip.AddrPort, outside netip.Addr) []string {
	config := vsftpdConfig
	if outside.IsValid() {
		config += "pasv_address=" + outside.String() + "\n"
	}
	return vsftpdWith(t, s, at, config)
}

// vsftpdTLS are the words for FTPS (RFC 4217): the login and all data must be encrypted.
const vsftpdTLS = `
ssl_enable=YES
allow_anon_ssl=YES
force_anon_logins_ssl=YES
force_anon_data_ssl=YES
require_ssl_reuse=NO
ssl_ciphers=HIGH
rsa_cert_file={certificate}
rsa_private_key_file={certificate}
`

// vsftpds is vsftpd for FTPS.
func vsftpds(t *testing.T, s *server, at netip.AddrPort, _ netip.Addr) []string {
	return vsftpdWith(t, s, at, vsftpdConfig+strings.ReplaceAll(vsftpdTLS, "{certificate}", certificate(t)))
}

// certificate makes one that nobody vouches for, with its key, and returns the file.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	lab.Must(t, err)
	now := time.Now()
	of := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), DNSNames: []string{"ftp"}}
	der, err := x509.CreateCertificate(crand.Reader, of, of, &key.PublicKey, key)
	lab.Must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	lab.Must(t, err)
	return write(t, "ftp.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))+
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

func vsftpdWith(t *testing.T, s *server, at netip.AddrPort, config string) []string {
	own := filepath.Join(lab.PublicDir(t), "empty")
	lab.Must(t, os.Mkdir(own, 0o755))
	is4, is6, suffix := "YES", "NO", ""
	if at.Addr().Is6() {
		is4, is6, suffix = is6, is4, "6"
	}
	config = strings.NewReplacer("{4}", is4, "{6}", is6, "{suffix}", suffix, "{addr}", at.Addr().String(),
		"{port}", fmt.Sprint(at.Port()), "{dir}", s.dir, "{own}", own).Replace(config)
	return []string{lab.NeedTool(t, "vsftpd"), write(t, "vsftpd.conf", config)}
}

// proftpdConfig serves anonymous users; its words in braces are replaced. A greeting with the server's address, which it has
// else, is no endpoint that anybody connects to, and no helper's business.
const proftpdConfig = `
ServerType standalone
DefaultAddress {addr}
SocketBindTight on
Port {port}
UseIPv6 on
User nobody
Group nogroup
PidFile {own}/pid
ScoreboardFile {own}/scoreboard
SystemLog none
TransferLog none
WtmpLog off
UseReverseDNS off
RequireValidShell off
MaxInstances none
tcpBackLog 255
ServerIdent on "ProFTPD"
<IfModule mod_delay.c>
  DelayEngine off
</IfModule>
{masquerade}
<Anonymous {dir}>
  User nobody
  Group nogroup
  UserAlias anonymous nobody
  <Limit ALL>
    AllowAll
  </Limit>
</Anonymous>
`

func proftpd(t *testing.T, s *server, at netip.AddrPort, outside netip.Addr) []string {
	own := filepath.Join(lab.PublicDir(t), "own")
	lab.Must(t, os.Mkdir(own, 0o755)) // it refuses one that others may write to
	masquerade := ""
	if outside.IsValid() {
		masquerade = "MasqueradeAddress " + outside.String()
	}
	config := strings.NewReplacer("{addr}", at.Addr().String(), "{port}", fmt.Sprint(at.Port()), "{dir}", s.dir, "{own}", own,
		"{masquerade}", masquerade).Replace(proftpdConfig)
	return []string{lab.NeedTool(t, "proftpd"), "-n", "-c", write(t, "proftpd.conf", config)}
}

func pureftpd(t *testing.T, s *server, at netip.AddrPort, outside netip.Addr) []string {
	family := "-4"
	if at.Addr().Is6() {
		family = "-6"
	}
	command := []string{lab.NeedTool(t, "pure-ftpd"), family, "-S", fmt.Sprintf("%s,%d", at.Addr(), at.Port()), "-l", "extauth:" + admit(t, s),
		"-E", "-A", "-H", "-c", "400", "-g", filepath.Join(lab.PublicDir(t), "pid")}
	if outside.IsValid() {
		command = append(command, "-P", outside.String())
	}
	return command
}

// admit answers Pure-FTPd's question who a user is, on the socket that it returns: everybody is nobody and has the files.
func admit(t *testing.T, s *server) string {
	t.Helper()
	path := filepath.Join(lab.PublicDir(t), "admit")
	l, err := net.Listen("unix", path)
	lab.Must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			for lines := bufio.NewScanner(c); lines.Scan() && lines.Text() != "end"; {
			}
			fmt.Fprintf(c, "auth_ok:1\nuid:65534\ngid:65534\ndir:%s\nend\n", s.dir)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return path
}

// write writes a file into a folder of its own and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(lab.PublicDir(t), name)
	lab.Must(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// fileSize is the size of most files, bytes: many segments.
const fileSize = 300_000

// serve starts a server and waits until it greets.
func (k *kind) serve(t *testing.T, n *netlab.Namespace, addr, outside netip.Addr) *server {
	t.Helper()
	s := newServer(t, k)
	at := netip.AddrPortFrom(addr, k.port)
	start(t, n, at, k.command(t, s, at, outside))
	return s
}

// newServer makes the files of a server.
func newServer(t *testing.T, k *kind) *server {
	t.Helper()
	s := &server{name: k.name, port: k.port, user: k.user, dir: filepath.Join(lab.PublicDir(t), "files")}
	lab.Must(t, os.Mkdir(s.dir, 0o755)) // vsftpd refuses a folder that its user may write to
	up := filepath.Join(s.dir, "up")
	lab.Must(t, os.Mkdir(up, 0o755))
	lab.Must(t, os.Chmod(up, 0o777))
	s.file = random(uint64(k.port), fileSize)
	lab.Must(t, os.WriteFile(filepath.Join(s.dir, "down"), s.file, 0o644))
	return s
}

// random returns bytes that are those of seed only.
func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b) // never fails
	return b
}

// start runs a server's command until the test ends.
func start(t *testing.T, n *netlab.Namespace, at netip.AddrPort, command []string) {
	t.Helper()
	// The shell is the first process of the new namespace, so that a server's orphans do not become the server's children.
	// vsftpd says what is wrong on its standard input.
	cmd := exec.Command("sh", append([]string{"-c", `"$@" <&1 & wait`, "sh"}, command...)...)
	var out lab.Output
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID} // its children, one a session, end with it
	lab.Must(t, n.Start(cmd))
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // killed, as a rule
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
		if t.Failed() {
			t.Logf("%s on %s wrote: %s", command[0], at, &out)
		}
	})
	deadline := time.After(lab.ReadyTimeout)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !greets(t, n, at) {
		select {
		case <-again.C:
		case <-ended:
			t.Fatalf("%s ended: %s", command[0], &out)
		case <-deadline:
			t.Fatalf("%s does not greet on %s: %s", command[0], at, &out)
		}
	}
}

// greets reports whether an FTP server is there.
func greets(t *testing.T, n *netlab.Namespace, at netip.AddrPort) bool {
	t.Helper()
	c, err := n.Dial(t.Context(), "tcp", at)
	if err != nil {
		return false
	}
	defer c.Close()
	lab.Must(t, c.SetDeadline(time.Now().Add(lab.ReadyTimeout)))
	b := make([]byte, 512)
	got, _ := c.Read(b)
	return bytes.HasPrefix(b[:got], []byte("220"))
}
