package tun

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"

	"github.com/natrouter/natrouter/router/packet"
	"github.com/songgao/water"
)

// waterDevice moves one packet a call through github.com/songgao/water. It has no offload: what is unfinished is
// finished before the write.
type waterDevice struct {
	name   string
	mtu    int
	ifaces []*water.Interface
	queues []Queue
	closed atomic.Bool
}

func (d *waterDevice) Name() string    { return d.name }
func (d *waterDevice) Queues() []Queue { return d.queues }
func (d *waterDevice) Caps() Caps      { return Caps{} }
func (d *waterDevice) Driver() string  { return DriverWater }
func (d *waterDevice) MTU() int        { return d.mtu }

// Close ends the calls under way with os.ErrClosed, and may be called again.
func (d *waterDevice) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	var errs []error
	for _, i := range d.ifaces {
		errs = append(errs, i.Close())
	}
	return errors.Join(errs...)
}

func openWater(cfg *Config) (Device, error) {
	d := &waterDevice{mtu: orElse(cfg.MTU, 1500), name: cfg.Name}
	settings, err := waterConfig(cfg)
	if err != nil {
		return nil, err
	}
	for range cfg.Queues {
		iface, err := water.New(settings)
		if err == nil {
			d.ifaces, d.name = append(d.ifaces, iface), iface.Name()
			err = prepareWater(iface)
		}
		if err != nil {
			_ = d.Close()
			return nil, openError(cfg, err)
		}
	}
	for _, iface := range d.ifaces {
		d.queues = append(d.queues, newWaterQueue(iface, d))
	}
	return d, nil
}

type waterQueue struct {
	conn   io.ReadWriter
	closed *atomic.Bool
	errs   *deviceErrors
	finish *finisher
}

func newWaterQueue(conn io.ReadWriter, d *waterDevice) *waterQueue {
	q := &waterQueue{conn: conn, closed: &d.closed, errs: newDeviceErrors(d.name)}
	q.finish = newFinisher(q.writeWhole)
	return q
}

// Read fills the first frame only: the library can't say whether a second packet is there.
func (q *waterQueue) Read(frames []Frame) (int, error) {
	n, err := readable(frames)
	if n == 0 {
		return 0, q.errs.wrap(err)
	}
	f := &frames[0]
	n, err = q.conn.Read(f.Buf[f.Off:])
	if q.closed.Load() {
		return 0, os.ErrClosed
	}
	if err != nil {
		return 0, q.errs.wrap(pathError(err))
	}
	f.Len, f.Meta = n, packet.Meta{}
	return 1, nil
}

func (q *waterQueue) Write(frames []Frame) (int, error) {
	for i := range frames {
		f, err := &frames[i], error(nil)
		switch {
		case f.Len == 0:
		case !validFrame(f):
			err = ErrFrame
		default:
			err = q.finish.send(f)
		}
		switch {
		case err == nil:
		case q.closed.Load():
			return i, os.ErrClosed
		default:
			return i, q.errs.wrap(err)
		}
	}
	return len(frames), nil
}

func (q *waterQueue) writeWhole(b []byte) error {
	_, err := q.conn.Write(b)
	return pathError(err)
}

// pathError takes the name of the device node off an error of os.File, and gives the rest its meaning.
func pathError(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fdError(path.Err)
	}
	return err
}
