package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/fault"
)

// runDaemon leaves a proxy behind, and says where it is.
func runDaemon(ctx context.Context, c *cli, o *proxyOptions, access config.Access) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	if err := a.CheckReason(o.env, access, o.reason, o.limit); err != nil {
		return err
	}
	p, err := startBackground(ctx, a.Config().Path, app.DefaultStateDir(c.getenv), o)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(c.out, p)
	}
	return announceText(c, p, "; in the background, dbops proxy stop -e "+o.env+" ends it; it logs to "+p.Log)
}

// args are the flags of a proxy in the background. None holds a secret.
func (o *proxyOptions) args() ([]string, error) {
	args := []string{"proxy", "-e", o.env, "--access", o.access, "--exit-after-idle", o.idleExit.String(), "--background"}
	if o.tls != "" {
		args = append(args, "--tls", o.tls)
	}
	if o.maxConns != 0 {
		args = append(args, "--max-connections", strconv.Itoa(o.maxConns), "--drain-timeout", o.drainTimeout.String())
	}
	if o.nameless {
		args = append(args, "--nameless")
	}
	if o.limit != 0 {
		args = append(args, "--for", o.limit.String())
	}
	for flag, value := range map[string]string{"--listen": o.listen, "--reason": o.reason, "--metrics": o.metrics} {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	for flag, path := range map[string]string{"--unix-socket": o.socket, "--password-file": o.passwordFile} {
		if path == "" {
			continue
		}
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		args = append(args, flag, abs)
	}
	return args, nil
}

// startBackground runs `dbops proxy` in a session of its own, and waits until it listens.
func startBackground(ctx context.Context, configPath, stateDir string, o *proxyOptions) (proxyJSON, error) {
	what := "open a proxy of " + o.env
	fail := func(err error) (proxyJSON, error) { return proxyJSON{}, fault.New(fault.Internal, what, err) }
	self, err := os.Executable()
	if err != nil {
		return fail(err)
	}
	args, err := o.args()
	if err != nil {
		return fail(err)
	}
	log, err := openLog(filepath.Join(stateDir, "proxy-"+strings.ReplaceAll(o.env, string(filepath.Separator), "_")+".log"))
	if err != nil {
		return proxyJSON{}, fault.New(fault.Config, what, err).Hint("make room there, and let this user write")
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, append([]string{"--config", configPath, "-o", "json"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	keepDescriptors()
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fail(err)
	}
	if err := cmd.Start(); err != nil {
		return fail(err)
	}
	line, readErr := bufio.NewReader(stdout).ReadBytes('\n')
	var first proxyJSON
	if readErr == nil {
		readErr = json.Unmarshal(line, &first)
	}
	if readErr != nil || first.Schema != "dbops/proxy/v1" {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return proxyJSON{}, backgroundFailure(what, line, log.Name(), readErr)
	}
	if err := cmd.Process.Release(); err != nil {
		return fail(err)
	}
	first.Log = log.Name()
	return first, nil
}

// backgroundFailure is the error that the other process told in place of the ready line.
func backgroundFailure(what string, line []byte, log string, cause error) error {
	var e errorJSON
	if json.Unmarshal(line, &e) == nil && e.Message != "" {
		return fault.New(e.Code, what, errors.New(e.Message)).Missing(e.Permission).Hint("%s", e.Hint)
	}
	if cause == nil {
		cause = errors.New("it did not say where it listens")
	}
	return fault.New(fault.Internal, what, cause).Hint("its log is %s", log)
}

// background is the proxy that conn-uri opens.
func background(env string, access config.Access, reason string, limit, idle time.Duration) *proxyOptions {
	return &proxyOptions{env: env, access: string(access), reason: reason, limit: limit, idleExit: idle}
}
