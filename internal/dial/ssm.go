package dial

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os/exec"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go"

	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
)

const (
	// ssmDocument forwards a port of this machine to a host that the managed node can reach.
	ssmDocument = "AWS-StartPortForwardingSessionToRemoteHost"
	ssmPlugin   = "session-manager-plugin"

	installPlugin = "install it: https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html"
)

// SSMOptions say which managed node, and with whose credentials.
type SSMOptions struct {
	Target  string // the node's ID
	Region  string
	Profile string // of the AWS configuration; empty: the standard chain
	// Endpoint is the base URL of the Systems Manager API, for emulators.
	Endpoint string
	// Plugin is the program that forwards. Defaults to session-manager-plugin on PATH.
	Plugin string

	every time.Duration // for tests: between trials of a session that gives no answer
}

// SSM is the way through a managed node of AWS Systems Manager, which connects to the instance for us. For each address there is one session, held
// by a process of Amazon's session-manager-plugin, and as many streams in it as there are connections. A session that has ended is
// started again by the next connection.
type SSM struct {
	opts SSMOptions
	ctx  context.Context //nolint:containedctx // ends with Close: sessions outlive who needs them first
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	client *awsclient.Client
	to     map[string]*forward // by address
	closed bool
}

// forward is the session for one address.
type forward struct {
	mu     sync.Mutex // held while one starts, so that one starts for all
	plugin *plugin
}

// NewSSM returns a way that has contacted nobody yet.
func NewSSM(o SSMOptions) *SSM {
	if o.every <= 0 {
		o.every = suspectAfter
	}
	s := &SSM{opts: o, to: map[string]*forward{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// String names the managed node for messages.
func (s *SSM) String() string { return "ssm " + s.opts.Target }

// Dial implements [Way].
func (s *SSM) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	op := "reach " + addr + " via " + s.String()
	f, err := s.forward(op, addr)
	if err != nil {
		return nil, err
	}
	defer s.wg.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)() //nolint:contextcheck // the way's own context, on purpose
	for try := 1; ; try++ {
		p, err := s.session(ctx, op, addr, f)
		if err != nil {
			return nil, err
		}
		conn, err := p.dial(ctx, network, addr)
		switch {
		case err == nil:
			return conn, nil
		case errors.Is(ctx.Err(), context.Canceled):
			return nil, fault.New(fault.Interrupted, op, ctx.Err())
		case p.gone() && try == 1: // it ended, and only now anybody notices
			continue
		}
		return nil, fault.Newf(fault.Unavailable, op, "the session is open, and %s takes no connections: %w", ssmPlugin, err).Hint("try again")
	}
}

// forward is what there is for an address. The caller tells wg when it is done.
func (s *SSM) forward(op, addr string) (*forward, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fault.Newf(fault.Internal, op, "the way is closed")
	}
	f := s.to[addr]
	if f == nil {
		f = &forward{}
		s.to[addr] = f
	}
	s.wg.Add(1)
	return f, nil
}

// session returns the process that forwards to an address, after starting it if there is none.
func (s *SSM) session(ctx context.Context, op, addr string, f *forward) (*plugin, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.plugin != nil && !f.plugin.gone() {
		return f.plugin, nil
	}
	f.plugin = nil
	program := s.opts.Plugin
	if program == "" {
		var err error
		if program, err = exec.LookPath(ssmPlugin); err != nil {
			return nil, fault.Newf(fault.Config, op, "Amazon's %s is not installed, or not on PATH", ssmPlugin).Hint(installPlugin)
		}
	}
	client, api, err := s.api(ctx)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fault.New(fault.Internal, op, err)
	}
	in := &sdk.StartSessionInput{
		Target: aws.String(s.opts.Target), DocumentName: aws.String(ssmDocument),
		Parameters: map[string][]string{"host": {host}, "portNumber": {port}},
	}
	out, err := api.StartSession(ctx, in)
	if err != nil {
		return nil, s.notStarted(ctx, op, client, err)
	}
	response, err := json.Marshal(map[string]*string{"SessionId": out.SessionId, "TokenValue": out.TokenValue, "StreamUrl": out.StreamUrl})
	if err != nil {
		return nil, fault.New(fault.Internal, op, err)
	}
	request, err := json.Marshal(map[string]any{"Target": in.Target, "DocumentName": in.DocumentName, "Parameters": in.Parameters})
	if err != nil {
		return nil, fault.New(fault.Internal, op, err)
	}
	p, err := startPlugin(program, string(response), []string{s.opts.Region, "StartSession", s.opts.Profile, string(request), endpointOf(api)})
	if err != nil {
		return nil, fault.New(fault.Config, op, err).Hint(installPlugin)
	}
	p.node = s.opts.Target
	s.wg.Go(func() { s.keep(p, api, aws.ToString(out.SessionId)) })
	if err := p.ready(ctx); err != nil {
		p.end()
		if ctx.Err() != nil {
			return nil, given(ctx, op, "the session did not open in time", "aws ssm describe-sessions --state Active shows it")
		}
		return nil, fault.New(fault.Unavailable, op, err).
			Hint("is the agent of %s up to date, and may this machine open WebSockets to AWS?", s.opts.Target)
	}
	s.wg.Go(func() { p.watch(s.opts.every) })
	f.plugin = p
	return p, nil
}

// keep ends a session's process with the way, and tells AWS of the session's end.
func (s *SSM) keep(p *plugin, api *sdk.Client, session string) {
	select {
	case <-s.ctx.Done():
		p.end()
	case <-p.done:
	}
	<-p.done
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), 3*time.Second)
	defer cancel()
	// It has ended already where all went well. Where not, it would stay open for AWS to time it out, which does no harm.
	_, _ = api.TerminateSession(ctx, &sdk.TerminateSessionInput{SessionId: aws.String(session)})
}

func endpointOf(api *sdk.Client) string { return aws.ToString(api.Options().BaseEndpoint) }

// api returns the client of Systems Manager, whose configuration is read once.
func (s *SSM) api(ctx context.Context) (*awsclient.Client, *sdk.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		c, err := awsclient.Load(ctx, awsclient.Options{Region: s.opts.Region, Profile: s.opts.Profile})
		if err != nil {
			return nil, nil, err
		}
		s.client = c
	}
	return s.client, sdk.NewFromConfig(s.client.Config, func(o *sdk.Options) {
		if s.opts.Endpoint != "" {
			o.BaseEndpoint = aws.String(s.opts.Endpoint)
		}
	}), nil
}

// notStarted explains a session that AWS did not start.
func (s *SSM) notStarted(ctx context.Context, op string, client *awsclient.Client, err error) error {
	ctx = context.WithoutCancel(ctx)
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		switch api.ErrorCode() {
		case "TargetNotConnected":
			return fault.Newf(fault.Unavailable, op, "%s is not connected to Systems Manager (TargetNotConnected)", s.opts.Target).
				Hint("is it running, in %s, with the SSM agent and AmazonSSMManagedInstanceCore? aws ssm describe-instance-information shows those that are connected", s.opts.Region)
		case "InvalidTarget", "InvalidInstanceId":
			return fault.Newf(fault.Config, op, "Systems Manager knows no %s in %s", s.opts.Target, s.opts.Region).Hint("check target and region of ssm in dbops.yaml")
		}
	}
	return client.Fault(ctx, op, err)
}

// Close implements [Way].
func (s *SSM) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.wg.Wait()
	return nil
}

// rejected is why a connection through a session came to nothing before anything was said.
func rejected(target, addr string) error {
	return fault.Newf(fault.Unavailable, "", "%s cannot connect to %s", target, addr).
		Hint("is the instance running, and does its security group let %s in? The name is resolved there", target)
}
