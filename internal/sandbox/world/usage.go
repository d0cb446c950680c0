package world

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/procfs"
)

// Usage is what a server uses at one moment.
type Usage struct {
	At          time.Time
	Started     time.Time      // of its processes; zero where this system does not tell
	CPU         time.Duration  // processor time of all of them since then
	Connections map[string]int // sessions of clients, by database
	Bytes       int64          // of its data folder
}

type sessions struct {
	Database string
	Count    int
}

// Usage measures a running server.
func (s *Server) Usage(ctx context.Context) (Usage, error) { return s.usage(ctx) }

func (s *server) usage(ctx context.Context) (u Usage, err error) {
	s.mu.Lock()
	p := s.process
	s.mu.Unlock()
	if !p.runs() {
		return u, fmt.Errorf("measure server %s: it is stopped", s.record.ID)
	}
	u.At = time.Now()
	u.Started, u.CPU = processorTime(p.cmd.Process.Pid)
	if u.Bytes, err = folderSize(s.cluster.data()); err != nil {
		return u, fmt.Errorf("measure the data of server %s: %w", s.record.ID, err)
	}
	u.Connections = map[string]int{}
	err = s.use(ctx, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, "select datname, count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() group by 1")
		if err != nil {
			return err
		}
		all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sessions])
		for _, of := range all {
			u.Connections[of.Database] = of.Count
		}
		return err
	})
	if err != nil {
		return u, fmt.Errorf("count the sessions of server %s: %w", s.record.ID, err)
	}
	return u, nil
}

// processorTime is that of a process and its children, those that have ended included, and when the first one began. It is zero where there is
// no /proc.
func processorTime(pid int) (started time.Time, used time.Duration) {
	procs, err := procfs.AllProcs()
	if err != nil {
		return started, 0
	}
	seconds := 0.0
	for _, p := range procs {
		stat, err := p.Stat()
		if err != nil || p.PID != pid && stat.PPID != pid { // it may have ended meanwhile
			continue
		}
		seconds += stat.CPUTime()
		if p.PID == pid {
			seconds += float64(stat.CUTime+stat.CSTime) / 100 // ticks, as CPUTime counts them
			if at, err := stat.StartTime(); err == nil {
				started = time.UnixMilli(int64(at * 1000))
			}
		}
	}
	return started, time.Duration(seconds * float64(time.Second))
}

// folderSize adds up the files of a folder, some of which come and go.
func folderSize(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				bytes += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return bytes, err
}
