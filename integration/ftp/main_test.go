// Package ftp tests the FTP helper with the servers and clients that people have: vsftpd, ProFTPD and Pure-FTPd, curl, lftp
// and tnftp, as Debian ships them. What is asked of natrouter is asked of the kernel's own helper too, in the same test:
// where the two differ, the test says why.
package ftp

import (
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
