package ftp

import (
	"encoding/hex"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/alg/algtest"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// spoken is a line of a dialogue, without its end, and what the other end hears; empty: the same.
type spoken struct {
	dir         conntrack.Direction
	said, heard string
}

// vector is a dialogue and what is awaited at its end; empty: nothing.
type vector struct {
	lines   []spoken
	awaited string
	options map[string]any
}

// ask is a command with the reply to it.
func ask(command, reply string) []spoken {
	return []spoken{{fromClient, command, ""}, {fromServer, reply, ""}}
}

// say is one command and what the server hears.
func say(said, heard string) []spoken { return []spoken{{fromClient, said, heard}} }

const (
	toClient = "tcp 10.9.2.2:0->10.9.2.1:" // the server connects to the outside address
	toServer = "tcp 10.9.1.2:0->10.9.2.2:" // the client connects to the server
)

// vectors are those of the client at 10.9.1.2, by 10.9.2.1 outside, and the server at 10.9.2.2.
var vectors = map[string]vector{
	"PORT":                      {lines: say("PORT 10,9,1,2,19,136", "PORT 10,9,2,1,19,136"), awaited: toClient + "5000"},
	"the verb's case stays":     {lines: say("port 10,9,1,2,19,137", "port 10,9,2,1,19,137"), awaited: toClient + "5001"},
	"PoRt":                      {lines: say("PoRt 10,9,1,2,19,137", "PoRt 10,9,2,1,19,137"), awaited: toClient + "5001"},
	"third host":                {lines: say("PORT 10,9,1,77,19,136", "")},
	"privileged port":           {lines: say("PORT 10,9,1,2,0,22", "")},
	"port 1023":                 {lines: say("PORT 10,9,1,2,3,255", "")},
	"port 1024":                 {lines: say("PORT 10,9,1,2,4,0", "PORT 10,9,2,1,4,0"), awaited: toClient + "1024"},
	"number above 255":          {lines: say("PORT 10,9,1,2,999,1", "")},
	"number 256":                {lines: say("PORT 10,9,1,2,256,1", "")},
	"port 0":                    {lines: say("PORT 10,9,1,2,0,0", "")},
	"five numbers":              {lines: say("PORT 10,9,1,2,19", "")},
	"seven numbers":             {lines: say("PORT 10,9,1,2,19,136,1", "")},
	"four digits":               {lines: say("PORT 10,9,1,2,19,0136", "")},
	"no number":                 {lines: say("PORT 10,9,1,,19,136", "")},
	"a sign":                    {lines: say("PORT 10,9,1,+2,19,136", "")},
	"a space within":            {lines: say("PORT 10,9,1, 2,19,136", "")},
	"a space behind":            {lines: say("PORT 10,9,1,2,19,136 ", "PORT 10,9,2,1,19,136 "), awaited: toClient + "5000"},
	"two CRs behind":            {lines: say("PORT 10,9,1,2,19,136\r", "PORT 10,9,2,1,19,136\r"), awaited: toClient + "5000"},
	"CR, space, CR behind":      {lines: say("PORT 10,9,1,2,19,136\r \r", "PORT 10,9,2,1,19,136\r \r"), awaited: toClient + "5000"},
	"a NUL behind":              {lines: say("PORT 10,9,1,2,19,136\x00", "")},
	"EPRT, a space behind":      {lines: say("EPRT |1|10.9.1.2|5004| ", "EPRT |1|10.9.2.1|5004| "), awaited: toClient + "5004"},
	"LPRT, a CR behind":         {lines: say("LPRT 4,4,10,9,1,2,2,19,136\r", "LPRT 4,4,10,9,2,1,2,19,136\r"), awaited: toClient + "5000", options: lprt},
	"PASV, a CR behind":         {lines: ask("PASV\r", "227 (10,9,2,2,19,140)\r"), awaited: toServer + "5004"},
	"EPSV ALL, CRs behind":      {lines: append(ask("EPSV ALL \r", "200 ok"), say("PORT 10,9,1,2,19,136", "")...)},
	"text behind":               {lines: say("PORT 10,9,1,2,19,136x", "")},
	"CR within":                 {lines: say("PORT 10,9,1,2,19,136\rPORT", "")},
	"a tab":                     {lines: say("PORT\t10,9,1,2,19,136", "")},
	"no space":                  {lines: say("PORT10,9,1,2,19,136", "")},
	"no argument":               {lines: say("PORT", "")},
	"spaces before":             {lines: say("PORT   10,9,1,2,19,136", "PORT   10,9,2,1,19,136"), awaited: toClient + "5000"},
	"a space before the verb":   {lines: say(" PORT 10,9,1,2,19,136", "")},
	"a longer verb":             {lines: say("XPORT 10,9,1,2,19,136", "")},
	"within an argument":        {lines: say("STOR PORT 10,9,1,2,19,136", "")},
	"leading zeros":             {lines: say("PORT 010,009,1,2,19,136", "PORT 10,9,2,1,19,136"), awaited: toClient + "5000"},
	"behind another line":       {lines: say("NOOP\r\nPORT 10,9,1,2,19,138", "NOOP\r\nPORT 10,9,2,1,19,138"), awaited: toClient + "5002"},
	"behind a bare LF":          {lines: say("NOOP\nPORT 10,9,1,2,19,138", "NOOP\nPORT 10,9,2,1,19,138"), awaited: toClient + "5002"},
	"behind Telnet IP, DM":      {lines: say("\xff\xf4\xff\xf2PORT 10,9,1,2,19,138", "\xff\xf4\xff\xf2PORT 10,9,2,1,19,138"), awaited: toClient + "5002"},
	"behind a Telnet option":    {lines: say("\xff\xfb\x01PORT 10,9,1,2,19,138", "\xff\xfb\x01PORT 10,9,2,1,19,138"), awaited: toClient + "5002"},
	"behind a byte 255":         {lines: say("\xff\xffPORT 10,9,1,2,19,138", "")},
	"in a Telnet negotiation":   {lines: say("\xff\xfaPORT 10,9,1,2,19,138", "")},
	"behind a negotiation":      {lines: say("\xff\xfa\x18\xff\xff\xf0x\xff\xf0PORT 10,9,1,2,19,138", "\xff\xfa\x18\xff\xff\xf0x\xff\xf0PORT 10,9,2,1,19,138"), awaited: toClient + "5002"},
	"behind lines with NULs":    {lines: say("NO\x00OP\r\n\x00\r\n\x00NOOP\r\nNOOP\x00\r\nPORT 10,9,1,2,19,138", "NO\x00OP\r\n\x00\r\n\x00NOOP\r\nNOOP\x00\r\nPORT 10,9,2,1,19,138"), awaited: toClient + "5002"},
	"behind a line not ASCII":   {lines: say("\xe9\r\nPORT 10,9,1,2,19,138", "\xe9\r\nPORT 10,9,2,1,19,138"), awaited: toClient + "5002"},
	"the last of two":           {lines: say("PORT 10,9,1,2,19,136\r\nPORT 10,9,1,2,19,137", "PORT 10,9,2,1,19,136\r\nPORT 10,9,2,1,19,137"), awaited: toClient + "5001"},
	"a third host's replaces":   {lines: say("PORT 10,9,1,2,19,136\r\nPORT 10,9,1,3,19,137", "PORT 10,9,2,1,19,136\r\nPORT 10,9,1,3,19,137")},
	"EPRT":                      {lines: say("EPRT |1|10.9.1.2|5004|", "EPRT |1|10.9.2.1|5004|"), awaited: toClient + "5004"},
	"EPRT with !":               {lines: say("EPRT !1!10.9.1.2!5005!", "EPRT !1!10.9.2.1!5005!"), awaited: toClient + "5005"},
	"EPRT with ~":               {lines: say("eprt ~1~10.9.1.2~5005~", "eprt ~1~10.9.2.1~5005~"), awaited: toClient + "5005"},
	"EPRT IPv6 on IPv4":         {lines: say("EPRT |2|::1|5|", "")},
	"EPRT IPv6, high port":      {lines: say("EPRT |2|fd00::1|5000|", "")},
	"EPRT, family and address":  {lines: say("EPRT |2|10.9.1.2|5004|", "")},
	"EPRT, address and family":  {lines: say("EPRT |1|fd00::1|5004|", "")},
	"EPRT family 3":             {lines: say("EPRT |3|10.9.1.2|5004|", "")},
	"EPRT family 11":            {lines: say("EPRT |11|10.9.1.2|5004|", "")},
	"EPRT without family":       {lines: say("EPRT ||10.9.1.2|5004|", "")},
	"EPRT mapped":               {lines: say("EPRT |2|::ffff:10.9.1.2|5004|", "")},
	"EPRT zone":                 {lines: say("EPRT |2|fe80::1%eth0|5004|", "")},
	"EPRT port 0":               {lines: say("EPRT |1|10.9.1.2|0|", "")},
	"EPRT port 65536":           {lines: say("EPRT |1|10.9.1.2|65536|", "")},
	"EPRT port 065535":          {lines: say("EPRT |1|10.9.1.2|065535|", "")},
	"EPRT port 65535":           {lines: say("EPRT |1|10.9.1.2|65535|", "EPRT |1|10.9.2.1|65535|"), awaited: toClient + "65535"},
	"EPRT unfinished":           {lines: say("EPRT |1|10.9.1.2|5004", "")},
	"EPRT two delimiters":       {lines: say("EPRT |1|10.9.1.2!5004|", "")},
	"EPRT, a digit delimits":    {lines: say("EPRT 717510.9.1.27500477", "")},
	"EPRT, a letter delimits":   {lines: say("EPRT a1a10.9.1.2a5004a", "")},
	"EPRT, a space delimits":    {lines: say("EPRT  1 10.9.1.2 5004 ", "")},
	"EPRT text behind":          {lines: say("EPRT |1|10.9.1.2|5004||", "")},
	"EPRT name":                 {lines: say("EPRT |1|client|5004|", "")},
	"EPRT long":                 {lines: say("EPRT |1|10.9.1.2.10.9.1.2.10.9.1.2.10.9.1.2.10.9.1.2.10.9.1.2|5004|", "")},
	"227":                       {lines: ask("PASV", "227 Entering Passive Mode (10,9,2,2,19,140)"), awaited: toServer + "5004"},
	"227, full stop":            {lines: ask("PASV", "227 Entering Passive Mode (10,9,2,2,19,140)."), awaited: toServer + "5004"},
	"227 without parentheses":   {lines: ask("PASV", "227 Entering Passive Mode 10,9,2,2,19,141"), awaited: toServer + "5005"},
	"227 with =":                {lines: ask("PASV", "227 =10,9,2,2,19,141"), awaited: toServer + "5005"},
	"227, a number before":      {lines: ask("PASV", "227 mode 2, (10,9,2,2,19,141)"), awaited: toServer + "5005"},
	"227 of a third host":       {lines: ask("PASV", "227 Entering Passive Mode (10,9,2,99,19,142)")},
	"227, low port":             {lines: ask("PASV", "227 Entering Passive Mode (10,9,2,2,0,142)")},
	"227, port 0":               {lines: ask("PASV", "227 Entering Passive Mode (10,9,2,2,0,0)")},
	"227, seven numbers":        {lines: ask("PASV", "227 Entering Passive Mode (1,10,9,2,2,19,142)")},
	"227, five numbers":         {lines: ask("PASV", "227 Entering Passive Mode (10,9,2,2,19)")},
	"227, no address":           {lines: ask("PASV", "227")},
	"227, nothing behind":       {lines: ask("PASV", "227 ")},
	"227, spaces":               {lines: ask("PASV", "227 (10, 9, 2,  2,19, 142) "), awaited: toServer + "5006"},
	"227, a space before":       {lines: ask("PASV", "227 (10 ,9,2,2,19,142)")},
	"227, seven with spaces":    {lines: ask("PASV", "227 (10, 9, 2, 2, 19, 142, 1)")},
	"227 of 0,0,0,0":            {lines: ask("PASV", "227 (0,0,0,0,19,142)"), awaited: toServer + "5006"},
	"227 of 0,0,0,0, low port":  {lines: ask("PASV", "227 (0,0,0,0,0,142)")},
	"227 of 0,0,0,1":            {lines: ask("PASV", "227 (0,0,0,1,19,142)")},
	"PORT of 0,0,0,0":           {lines: say("PORT 0,0,0,0,19,142", "")},
	"EPRT of 0.0.0.0":           {lines: say("EPRT |1|0.0.0.0|5000|", "")},
	"228 of 0,0,0,0":            {lines: ask("LPSV", "228 (4,4,0,0,0,0,2,19,142)"), awaited: toServer + "5006", options: lprt},
	"228, spaces":               {lines: ask("LPSV", "228 (4, 4, 10,9,2,2, 2, 19, 142)"), awaited: toServer + "5006", options: lprt},
	"227 behind Telnet":         {lines: ask("PASV", "\xff\xf1\xff\xfb\x01227 (10,9,2,2,19,142)"), awaited: toServer + "5006"},
	"227 behind a byte 255":     {lines: ask("PASV", "\xff\xff227 (10,9,2,2,19,142)")},
	"227 behind a line no text": {lines: ask("PASV", "\xe9t\xe9\r\n\x00\r\n\r\n227 (10,9,2,2,19,142)"), awaited: toServer + "5006"},
	"227 unsolicited":           {lines: []spoken{{fromServer, "227-x\r\n227 (10,9,2,2,19,142)", ""}}},
	"227 to EPSV":               {lines: ask("EPSV", "227 (10,9,2,2,19,142)"), awaited: toServer + "5006"},
	"227 to EPSV, once":         {lines: ask("EPSV", "227 (10,9,2,2,19,142)\r\n229 (|||5007|)"), awaited: toServer + "5006"},
	"227 to another command":    {lines: ask("NOOP", "227 (10,9,2,2,19,142)")},
	"228 to PASV":               {lines: ask("PASV", "228 (4,4,10,9,2,2,2,19,142)"), awaited: toServer + "5006", options: lprt},
	"228 to PASV, LPSV is off":  {lines: ask("PASV", "228 (4,4,10,9,2,2,2,19,142)\r\n227 (10,9,2,2,19,141)"), awaited: toServer + "5005"},
	"227 to LPSV":               {lines: ask("LPSV", "227 (10,9,2,2,19,142)"), awaited: toServer + "5006", options: lprt},
	"227 to LPSV, which is off": {lines: ask("LPSV", "227 (10,9,2,2,19,142)")},
	"a late 250 to PASV":        {lines: ask("PASV", "250 changed\r\n227 (10,9,2,2,19,142)"), awaited: toServer + "5006"},
	"a late 350 to PASV":        {lines: ask("PASV", "350 go on\r\n227 (10,9,2,2,19,142)"), awaited: toServer + "5006"},
	"a late 200 to EPSV":        {lines: ask("EPSV", "200 ok\r\n229 (|||5007|)"), awaited: toServer + "5007"},
	"a late 200 to LPSV":        {lines: ask("LPSV", "200 ok\r\n228 (4,4,10,9,2,2,2,19,142)"), awaited: toServer + "5006", options: lprt},
	"a late 200 is NOOP's":      {lines: ask("PASV\r\nNOOP", "200 ok\r\n227 (10,9,2,2,19,142)"), awaited: toServer + "5006"},
	"227 of several lines":      {lines: ask("PASV", "227-x\r\n227-(10,9,2,2,19,143)\r\n227 (10,9,2,2,19,142)"), awaited: toServer + "5006"},
	"227 in another reply":      {lines: ask("STAT\r\nPASV", "211-status\r\n227 (10,9,2,2,19,142)\r\n211 end")},
	"227 with text before":      {lines: ask("PASV", "x227 (10,9,2,2,19,142)")},
	"two 227 to one PASV":       {lines: ask("PASV", "227 (10,9,2,2,19,141)\r\n227 (10,9,2,2,19,142)"), awaited: toServer + "5005"},
	"500 to PASV":               {lines: ask("PASV", "500 no\r\n227 (10,9,2,2,19,142)")},
	"a reply is missing":        {lines: ask("ABOR\r\nPASV", "227 (10,9,2,2,19,142)"), awaited: toServer + "5006"},
	"229":                       {lines: ask("EPSV", "229 Entering Extended Passive Mode (|||5007|)"), awaited: toServer + "5007"},
	"229 with !":                {lines: ask("epsv 1", "229 ok (!!!5007!)"), awaited: toServer + "5007"},
	"229 without parentheses":   {lines: ask("EPSV", "229 ok |||5007|")},
	"229 with an address":       {lines: ask("EPSV", "229 ok (|1|10.9.2.2|5007|)")},
	"229, port 0":               {lines: ask("EPSV", "229 ok (|||0|)")},
	"229, port 65536":           {lines: ask("EPSV", "229 ok (|||65536|)")},
	"229, low port":             {lines: ask("EPSV", "229 ok (|||80|)")},
	"229 unfinished":            {lines: ask("EPSV", "229 ok (|||5007|")},
	"229, the second of two":    {lines: ask("EPSV", "229 (no) (|||5007|)"), awaited: toServer + "5007"},
	"229 unsolicited":           {lines: []spoken{{fromServer, "229 (|||5007|)", ""}}},
	"229 to PASV":               {lines: ask("PASV", "229 (|||5007|)"), awaited: toServer + "5007"},
	"EPSV ALL, then 227":        {lines: append(ask("EPSV ALL", "200 ok"), ask("EPSV", "227 (10,9,2,2,19,142)")...)},
	"EPSV ALL, then 229":        {lines: append(ask("EPSV ALL", "299 ok"), ask("PASV", "229 (|||5007|)")...), awaited: toServer + "5007"},
	"EPSV ALL":                  {lines: append(ask("EPSV ALL", "200 ok"), say("PORT 10,9,1,2,19,136", "")...)},
	"epsv all, then EPSV":       {lines: append(ask("epsv all", "200 ok"), ask("EPSV", "229 (|||5007|)")...), awaited: toServer + "5007"},
	"EPSV ALL, then PASV":       {lines: append(ask("EPSV ALL", "200 ok"), ask("PASV", "227 (10,9,2,2,19,142)")...)},
	"EPSV ALL refused":          {lines: append(ask("EPSV ALL", "500 no"), say("PORT 10,9,1,2,19,136", "PORT 10,9,2,1,19,136")...), awaited: toClient + "5000"},
	"after AUTH TLS":            {lines: append(ask("AUTH TLS", "234 go"), say("PORT 10,9,1,2,19,136", "")...)},
	"behind AUTH TLS":           {lines: say("AUTH TLS\r\nPORT 10,9,1,2,19,136", "")},
	"after a refused AUTH":      {lines: append(ask("AUTH TLS", "502 no"), say("PORT 10,9,1,2,19,136", "PORT 10,9,2,1,19,136")...), awaited: toClient + "5000"},
	"refused by the server":     {lines: append(say("PORT 10,9,1,2,19,136", "PORT 10,9,2,1,19,136"), spoken{fromServer, "500 no", ""})},
	"taken by the server":       {lines: append(say("PORT 10,9,1,2,19,136", "PORT 10,9,2,1,19,136"), spoken{fromServer, "200 ok", ""}), awaited: toClient + "5000"},
	"taken, with another code":  {lines: append(say("PORT 10,9,1,2,19,136", "PORT 10,9,2,1,19,136"), spoken{fromServer, "250 ok", ""}), awaited: toClient + "5000"},
	"refused, 421":              {lines: append(say("PORT 10,9,1,2,19,136", "PORT 10,9,2,1,19,136"), spoken{fromServer, "421 no", ""})},
	"a reply is late, then 500": {lines: append(say("NOOP\r\nPORT 10,9,1,2,19,136", "NOOP\r\nPORT 10,9,2,1,19,136"), ask("SIZE b", "200 ok\r\n500 no")...), awaited: toClient + "5000"},
	"500 behind 150":            {lines: append(say("PORT 10,9,1,2,19,136", "PORT 10,9,2,1,19,136"), spoken{fromServer, "150 data\r\n500 no", ""}), awaited: toClient + "5000"},
	"500 behind 350":            {lines: append(say("REST 9\r\nPORT 10,9,1,2,19,136", "REST 9\r\nPORT 10,9,2,1,19,136"), spoken{fromServer, "350 go\r\n500 no", ""}), awaited: toClient + "5000"},
	"EPRT, late, then 500":      {lines: append(say("NOOP\r\nEPRT |1|10.9.1.2|5004|", "NOOP\r\nEPRT |1|10.9.2.1|5004|"), ask("SIZE b", "200 ok\r\n500 no")...), awaited: toClient + "5004"},
	"a positive one before":     {lines: append(append(ask("NOOP", "200 ok"), say("PORT 10,9,1,2,19,136", "PORT 10,9,2,1,19,136")...), spoken{fromServer, "500 no", ""})},
	"protected, nothing known":  {lines: append(say("PORT 10,9,1,2,19,136", "PORT 10,9,2,1,19,136"), spoken{fromServer, "632 x", ""}), awaited: toClient + "5000"},
	"the older one is refused":  {lines: append(say("PORT 10,9,1,2,19,136\r\nPORT 10,9,1,2,19,137", "PORT 10,9,2,1,19,136\r\nPORT 10,9,2,1,19,137"), spoken{fromServer, "500 no", ""}), awaited: toClient + "5001"},
	"the transfer fails":        {lines: append(say("PORT 10,9,1,2,19,136\r\nRETR x", "PORT 10,9,2,1,19,136\r\nRETR x"), spoken{fromServer, "200 ok\r\n550 no", ""}), awaited: toClient + "5000"},
	"QUIT":                      {lines: append(say("PORT 10,9,1,2,19,136\r\nQUIT", "PORT 10,9,2,1,19,136\r\nQUIT"), spoken{fromServer, "200 ok\r\n221 bye", ""})},
	"QUIT, not yet answered":    {lines: append(say("PORT 10,9,1,2,19,136\r\nQUIT", "PORT 10,9,2,1,19,136\r\nQUIT"), spoken{fromServer, "200 ok", ""}), awaited: toClient + "5000"},
	"REIN":                      {lines: append(ask("REIN", "220 again"), say("PORT 10,9,1,2,19,136", "")...)},
	"LPRT is off":               {lines: say("LPRT 4,4,10,9,1,2,2,19,136", "")},
	"LPSV is off":               {lines: ask("LPSV", "228 (4,4,10,9,2,2,2,19,140)")},
	"LPRT":                      {lines: say("LPRT 4,4,10,9,1,2,2,19,136", "LPRT 4,4,10,9,2,1,2,19,136"), awaited: toClient + "5000", options: lprt},
	"LPRT IPv6 on IPv4":         {lines: say("LPRT 6,16,253,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1,2,19,136", ""), options: lprt},
	"LPRT, length and family":   {lines: say("LPRT 4,16,10,9,1,2,2,19,136", ""), options: lprt},
	"LPRT, long port":           {lines: say("LPRT 4,4,10,9,1,2,3,0,19,136", ""), options: lprt},
	"LPRT, family 5":            {lines: say("LPRT 5,4,10,9,1,2,2,19,136", ""), options: lprt},
	"LPRT, port 0":              {lines: say("LPRT 4,4,10,9,1,2,2,0,0", ""), options: lprt},
	"LPRT, short":               {lines: say("LPRT 4,4,10,9,1,2,2,19", ""), options: lprt},
	"228":                       {lines: ask("LPSV", "228 Entering Long Passive Mode (4,4,10,9,2,2,2,19,140)"), awaited: toServer + "5004", options: lprt},
	"strict20":                  {lines: say("PORT 10,9,1,2,19,136", "PORT 10,9,2,1,19,136"), awaited: "tcp 10.9.2.2:20->10.9.2.1:5000", options: map[string]any{"strict20": true}},
	"min_port":                  {lines: say("PORT 10,9,1,2,19,136", ""), options: map[string]any{"min_port": 5001}},
	"min_port, lower":           {lines: say("PORT 10,9,1,2,0,80", "PORT 10,9,2,1,0,80"), awaited: toClient + "80", options: map[string]any{"min_port": 80}},
	"deny_port":                 {lines: say("PORT 10,9,1,2,19,136", ""), options: map[string]any{"deny_port": algtest.Port(5000)}},
	"deny_port of the server":   {lines: ask("PASV", "227 (10,9,2,2,19,136)"), options: map[string]any{"deny_port": algtest.Port(5000)}},
	"deny_port, another":        {lines: say("PORT 10,9,1,2,19,137", "PORT 10,9,2,1,19,137"), awaited: toClient + "5001", options: map[string]any{"deny_port": algtest.Port(5000)}},
	"loose, 227":                {lines: ask("PASV", "227 (10,9,2,99,19,142)"), awaited: "tcp 10.9.1.2:0->10.9.2.99:5006", options: loose},
	"loose, 227 of yet another": {lines: ask("PASV", "227 (10,9,2,98,19,142)"), options: loose},
	"loose, PORT":               {lines: say("PORT 10,9,2,99,19,142", ""), awaited: "tcp 10.9.2.2:0->10.9.2.99:5006", options: loose},
	"data_port":                 {lines: ask("PASV", "227 (10,9,2,2,19,140)"), awaited: toServer + "5004", options: map[string]any{"data_port": algtest.Port(5004)}},
	"data_port, another":        {lines: ask("PASV", "227 (10,9,2,2,19,141)"), options: map[string]any{"data_port": algtest.Port(5004)}},
	"data_port is the server's": {lines: say("PORT 10,9,1,2,19,136", "PORT 10,9,2,1,19,136"), awaited: toClient + "5000", options: map[string]any{"data_port": algtest.Port(5004)}},
}

var (
	lprt  = map[string]any{"lprt": true}
	loose = map[string]any{"loose": algtest.Ranges("10.9.2.99/32")}
)

// vectorWorld is a router between 10.9.1.0/24 and 10.9.2.0/24, or with another outside address.
func vectorWorld(t algtest.T, outside string, options map[string]any) *world {
	masquerade := nat.Rule{Action: nat.Masquerade, Out: "wan0", Source: algtest.Ranges("10.9.1.0/24")}
	return &world{algtest.New(t, algtest.Config{
		Helpers: []alg.Helper{New()}, NAT: []nat.Rule{masquerade},
		Rules:  []alg.Rule{{Name: "ftp", Proto: packet.ProtoTCP, Ports: algtest.Port(21), Options: options}},
		Inside: []string{"10.9.1.0/24"}, Outside: []string{outside},
	}), place{client: "10.9.1.2", server: "10.9.2.2", asServer: "10.9.2.2"}}
}

func TestVectors(t *testing.T) {
	for name, v := range vectors {
		t.Run(name, func(t *testing.T) {
			w := vectorWorld(t, "10.9.2.1/24", v.options)
			c := w.session(1025)
			for _, l := range v.lines {
				if l.heard == "" {
					l.heard = l.said
				}
				want(t, l.said, c.Say(l.dir, l.said+"\r\n"), l.heard+"\r\n")
			}
			list := w.Expectations()
			if v.awaited == "" && len(list) > 0 || v.awaited != "" && (len(list) != 1 || list[0] != v.awaited) {
				t.Errorf("awaited %v, want %q", list, v.awaited)
			}
		})
	}
}

// A command in two segments leaves whole; so does every other line that is not of interest, at once.
func TestTwoSegments(t *testing.T) {
	w := vectorWorld(t, "10.9.2.1/24", nil)
	c := w.session(1025)
	want(t, "first half", c.Say(fromClient, "PORT 10,9,1,"), "")
	want(t, "second half", c.Say(fromClient, "2,19,139\r\n"), "PORT 10,9,2,1,19,139\r\n")
	w.goes(t, "10.9.2.2:20", "10.9.2.1:5003", "10.9.2.2:20>10.9.1.2:5003")
	for _, part := range []string{"P", "POR", "\xff\xf4P", "EPRT "} {
		want(t, part, c.Say(fromClient, part), "")
		want(t, "end of "+part, c.Say(fromClient, "\r\n"), part+"\r\n")
	}
	for _, part := range []string{"PA", "PASV", "\xff", "\xff\xf4", "\xff\xfb", "LPRT 4,4", "STOR 227 ", "PORTE"} {
		want(t, part, c.Say(fromClient, part), part)
		c.Say(fromClient, "\r\n")
	}
}

// The worked example of the command that grows: edit, numbers and checksum, to the byte.
func TestLonger(t *testing.T) {
	w := vectorWorld(t, "198.51.100.77/24", nil)
	c := w.session(1025)
	in, _ := hex.DecodeString("504f52542031302c392c312c322c31392c3133360d0a")
	want(t, "sent", string(in), "PORT 10,9,1,2,19,136\r\n")
	want(t, "heard", c.Say(fromClient, string(in)), "PORT 198,51,100,77,19,136\r\n")
	if n := c.Acked(fromClient); n != c.Said(fromClient) {
		t.Errorf("%d of %d bytes acknowledged", n, c.Said(fromClient))
	}
	// The next segment is 5 bytes further on for the server, and what it acknowledges is 5 bytes less for the client.
	next := c.Sent(fromClient)
	c.Write(fromClient, "NOOP\r\n")
	c.Segment(fromClient, next, next+6, packet.Meta{}, nil)
	if got := string(c.Heard(fromClient)[next+5:]); got != "NOOP\r\n" {
		t.Errorf("behind the command: %q", got)
	}
	c.Ack(fromServer, nil)
	if n := c.Acked(fromClient); n != next+6 {
		t.Errorf("%d bytes acknowledged, want %d", n, next+6)
	}
}

// The worked example of the server behind DNAT.
func TestServerInside(t *testing.T) {
	forward := nat.Rule{
		Action: nat.DNAT, In: "wan0", Proto: packet.ProtoTCP, Ports: algtest.Port(21),
		Destination: algtest.Ranges("198.51.100.77/32"), To: algtest.Ranges("10.9.1.2/32"),
	}
	w := algtest.New(t, algtest.Config{
		Helpers: []alg.Helper{New()}, NAT: []nat.Rule{forward},
		Rules:  []alg.Rule{{Name: "ftp", Proto: packet.ProtoTCP, Ports: algtest.Port(21)}},
		Inside: []string{"10.9.1.0/24"}, Outside: []string{"198.51.100.77/24"},
	})
	c := w.Dial("203.0.113.9:1025", "198.51.100.77:21")
	for _, l := range dialogue {
		c.Say(l.dir, l.text)
	}
	c.Say(fromClient, "PASV\r\n")
	want(t, "reply", c.Say(fromServer, "227 Entering Passive Mode (10,9,1,2,195,80)\r\n"), "227 Entering Passive Mode (198,51,100,77,195,80)\r\n")
	want(t, "data", w.Connect("203.0.113.9:7000", "198.51.100.77:50000"), "203.0.113.9:7000>10.9.1.2:50000")
	c.Say(fromClient, "PORT 203,0,113,9,27,88\r\n")
	want(t, "data", w.Connect("10.9.1.2:20", "203.0.113.9:7000"), "198.51.100.77:20>203.0.113.9:7000")
}

// What an expectation lets in is a SYN: a segment in the middle of a connection opens nothing.
func TestOnlySYN(t *testing.T) {
	for _, flags := range []uint8{packet.FlagACK, packet.FlagSYN | packet.FlagACK, packet.FlagFIN | packet.FlagACK, packet.FlagRST} {
		w := newWorld(t, clientInside, nil)
		c := w.session(1025)
		c.Say(fromClient, "PORT "+numbers6(w.client, 5000)+"\r\n")
		p := testpkt.TCP{Src: addrPort(w.server, 20), Dst: addrPort(w.asClient, 5000), Seq: 9, Ack: 9, Flags: flags}
		if got := w.Where(p.Bytes()); got == host(w.server, 20)+">"+host(w.client, 5000) {
			t.Errorf("flags %#x get in", flags)
		}
		w.awaits(t, 1)
	}
}
