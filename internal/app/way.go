package app

import (
	"context"
	"net"

	"dbops/internal/config"
	"dbops/internal/dial"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// way opens connections the way that dbops.yaml says for an instance. Whatever its name, that of two instances with the same way is one.
func (a *App) way(inst *config.Instance) dial.Func {
	v := inst.Via
	key := v.Key()
	if key == "" {
		return dial.Direct()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	w, ok := a.ways[key]
	if !ok {
		w = a.newWay(v)
		a.ways[key] = w
	}
	return w.Dial
}

func (a *App) newWay(v *config.Via) dial.Way {
	switch {
	case v.SSH != nil:
		o := dial.SSHOptions{
			Host: v.SSH.Host, User: v.SSH.User, Port: v.SSH.Port, KeyFile: v.SSH.KeyFile, KnownHosts: v.SSH.KnownHosts,
			ConfigFile: v.SSH.ConfigFile, Getenv: a.opts.Getenv,
		}
		for _, text := range v.SSH.Jump {
			j, _ := config.ParseJump(text) // dbops.yaml was checked
			o.Jump = append(o.Jump, dial.SSHJump(j))
		}
		return dial.NewSSH(o)
	case v.SSM != nil:
		return dial.NewSSM(dial.SSMOptions{
			Target: v.SSM.Target, Region: v.SSM.Region, Profile: v.SSM.Profile, Endpoint: v.SSM.Endpoint,
		})
	default:
		return dial.NewSOCKS5(dial.SOCKS5Options{
			Address: v.SOCKS5.Address, User: v.SOCKS5.User,
			Password: func(ctx context.Context) (secret.Value, error) {
				ref, err := a.cfg.Secret(v.SOCKS5.Secret)
				if err != nil {
					return secret.Value{}, err
				}
				return a.secrets.Get(ctx, ref)
			},
		})
	}
}

// wayTo is way for an instance of dbops.yaml, as it is when a connection is opened.
func (a *App) wayTo(env, name string) dial.Func {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		inst, err := a.instance(env, name)
		if err != nil {
			return nil, fault.New(fault.KindOf(err), "reach "+env+"/"+name, err)
		}
		return a.way(inst)(ctx, network, addr)
	}
}
