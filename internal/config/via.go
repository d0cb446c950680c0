package config

import (
	"cmp"
	"net"
	"net/netip"
	"os/user"
	"regexp"
	"strconv"
	"strings"

	"dbops/internal/cloud"
)

// Via is how connections get to where an instance is. Exactly one of its fields is set.
type Via struct {
	// Direct connects from this machine. It is the default, and takes back what the environment says.
	Direct bool `yaml:"direct,omitempty" json:"direct,omitempty"`
	// SSH goes through a bastion.
	SSH *SSH `yaml:"ssh,omitempty" json:"ssh,omitempty"`
	// SSM goes through a managed node of AWS Systems Manager, which forwards to the instance.
	SSM *SSM `yaml:"ssm,omitempty" json:"ssm,omitempty"`
	// SOCKS5 goes through a SOCKS proxy, which resolves the names.
	SOCKS5 *SOCKS5 `yaml:"socks5,omitempty" json:"socks5,omitempty"`
}

// SSH is a bastion. What is left out, the user's configuration of OpenSSH says.
type SSH struct {
	// Host is a name of OpenSSH's configuration, or the bastion's name or address.
	Host string `yaml:"host" json:"host"`
	// Port of it. Defaults to what OpenSSH's configuration says, else to 22.
	Port int `yaml:"port,omitempty" json:"port,omitempty" jsonschema:"minimum=1,maximum=65535"`
	// User to log in as. Defaults to what OpenSSH's configuration says, else to the user of this machine.
	User string `yaml:"user,omitempty" json:"user,omitempty"`
	// Jump lists the hosts on the way to it, the first one first, each as in [USER@]HOST[:PORT].
	Jump []string `yaml:"jump,omitempty" json:"jump,omitempty"`
	// KeyFile is a private key to log in with, without a passphrase or held by the agent. Defaults to the agent's keys and those that
	// OpenSSH would try. Relative to dbops.yaml.
	KeyFile string `yaml:"key_file,omitempty" json:"key_file,omitempty"`
	// KnownHosts is the file that knows the hosts' keys. Defaults to OpenSSH's. Relative to dbops.yaml.
	KnownHosts string `yaml:"known_hosts,omitempty" json:"known_hosts,omitempty"`
	// ConfigFile is OpenSSH's configuration to read, or none. Defaults to the user's and the system's. Relative to dbops.yaml.
	ConfigFile string `yaml:"config_file,omitempty" json:"config_file,omitempty"`
}

// SSM is a managed node of AWS Systems Manager.
type SSM struct {
	// Target is the node: the ID of an EC2 instance (i-...), of a managed one (mi-...), or an ECS task as in ecs:CLUSTER_TASK_RUNTIME.
	Target string `yaml:"target" json:"target"`
	// Region of it. Defaults to the instance's.
	Region string `yaml:"region,omitempty" json:"region,omitempty"`
	// Profile of the AWS configuration to use. Defaults to the instance's.
	Profile string `yaml:"profile,omitempty" json:"profile,omitempty"`
	// Endpoint is the base URL of the Systems Manager API, for emulators.
	Endpoint string `yaml:"endpoint,omitempty" json:"endpoint,omitempty"`
}

// SOCKS5 is a SOCKS proxy of version 5.
type SOCKS5 struct {
	// Address of the proxy, host:port.
	Address string `yaml:"address" json:"address"`
	// User to log in to it as.
	User string `yaml:"user,omitempty" json:"user,omitempty"`
	// Secret names where the password lives, as in a login's secret. The proxy's protocol sends it unencrypted.
	Secret string `yaml:"secret,omitempty" json:"secret,omitempty"`
}

// NoSSHConfig as config_file reads none.
const NoSSHConfig = "none"

// vias are the keys of a via of which exactly one is wanted.
func vias() []string { return []string{"direct", "ssh", "ssm", "socks5"} }

// Key is equal for two that are one way, which connections can share, and "" for none but this machine's network. It is no secret.
func (v *Via) Key() string {
	switch {
	case v == nil:
	case v.SSH != nil:
		s := v.SSH
		return strings.Join([]string{
			"ssh", s.User + "@" + s.Host + ":" + strconv.Itoa(s.Port), strings.Join(s.Jump, ","), s.KeyFile, s.KnownHosts, s.ConfigFile,
		}, " ")
	case v.SSM != nil:
		return strings.Join([]string{"ssm", v.SSM.Target, v.SSM.Region, v.SSM.Profile, v.SSM.Endpoint}, " ")
	case v.SOCKS5 != nil:
		return strings.Join([]string{"socks5", v.SOCKS5.User + "@" + v.SOCKS5.Address, v.SOCKS5.Secret}, " ")
	}
	return ""
}

// throughVia fills in what a via takes from the instance, and makes its paths absolute. An environment's via is shared: it is not changed.
func (c *Config) throughVia(env *Environment, inst *Instance) {
	if inst.Via == nil {
		inst.Via = env.Via
	}
	if inst.Via == nil {
		return
	}
	v := *inst.Via
	if v.SSH != nil {
		s := *v.SSH
		s.KeyFile, s.KnownHosts = c.home(s.KeyFile), c.home(s.KnownHosts)
		if s.ConfigFile != NoSSHConfig {
			s.ConfigFile = c.home(s.ConfigFile)
		}
		v.SSH = &s
	}
	if v.SSM != nil {
		s := *v.SSM
		if inst.RDS != nil {
			s.Region, s.Profile = cmp.Or(s.Region, inst.RDS.Region), cmp.Or(s.Profile, inst.RDS.Profile)
		}
		v.SSM = &s
	}
	inst.Via = &v
}

// home is abs for a path that may begin with ~/.
func (c *Config) home(path string) string {
	rest, ok := strings.CutPrefix(path, "~/")
	if !ok {
		return c.abs(path)
	}
	u, err := user.Current()
	if err != nil {
		return c.abs(path)
	}
	return within(u.HomeDir, rest)
}

// via checks a way; inst is nil for that of an environment.
func (c *checker) via(v *Via, s spot) {
	if v == nil || s.node.kind != isMapping {
		return
	}
	said := 0
	for _, p := range s.node.pairs {
		for _, known := range vias() {
			if p.key == known {
				said++
			}
		}
	}
	switch {
	case said == 0:
		c.report.atKey(s, "write ssh:, ssm:, socks5: or direct: true below it", "nothing says which way it is")
		return
	case said > 1:
		c.report.atKey(s, "keep one; further hosts on the way are ssh's jump", "there is more than one way")
		return
	}
	if c.has(s, "direct", isBool, false) && !v.Direct {
		c.report.atValue(s.down("direct"), "name the way, or delete it", "direct: false says no way")
	}
	if c.has(s, "ssh", isMapping, false) && v.SSH != nil {
		c.ssh(v.SSH, s.down("ssh"))
	}
	if c.has(s, "ssm", isMapping, false) && v.SSM != nil {
		c.ssm(v.SSM, s.down("ssm"))
	}
	if c.has(s, "socks5", isMapping, false) && v.SOCKS5 != nil {
		c.socks5(v.SOCKS5, s.down("socks5"))
	}
}

func (c *checker) ssh(v *SSH, s spot) {
	if c.has(s, "host", isText, true) && !sshHost(v.Host) {
		c.report.atValue(s.down("host"), "write the name alone; user and port have keys of their own", "this is no name of a host")
	}
	if c.has(s, "port", isNumber, false) && (v.Port < 1 || v.Port > 65535) {
		c.report.atValue(s.down("port"), "", "the port must be a number from 1 to 65535")
	}
	if c.has(s, "user", isText, false) && !sshUser.MatchString(v.User) {
		c.report.atValue(s.down("user"), "", "this is no name of a user")
	}
	if c.has(s, "jump", isList, false) {
		for i, text := range v.Jump {
			at := s.down("jump").item(i)
			if at.node.kind != isText || c.secrets[at.node.pos] {
				continue
			}
			if _, wrong := ParseJump(text); wrong != "" {
				c.report.atValue(at, "write it as in ops@outer.example.com:2222", "%s", wrong)
			}
		}
	}
	for _, key := range []string{"key_file", "known_hosts", "config_file"} {
		c.has(s, key, isText, false)
	}
}

// Jump is one host on the way to a bastion.
type Jump struct {
	User, Host string
	Port       int // 0: not said
}

// ParseJump reads [USER@]HOST[:PORT]. It says what is wrong with a text that is none.
func ParseJump(text string) (j Jump, wrong string) {
	rest := text
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		j.User, rest = rest[:at], rest[at+1:]
		if !sshUser.MatchString(j.User) {
			return j, "the user is no name of one"
		}
	}
	j.Host = rest
	if host, port, err := net.SplitHostPort(rest); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return j, "the port must be a number from 1 to 65535"
		}
		j.Host, j.Port = host, int(n)
	}
	if !sshHost(j.Host) {
		return j, "this is no name of a host"
	}
	return j, ""
}

var (
	sshUser = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@+-]*\$?$`)
	sshName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
)

func sshHost(host string) bool { return net.ParseIP(host) != nil || sshName.MatchString(host) }

var ssmTarget = regexp.MustCompile(`^(m?i-[0-9a-f]{8,17}|ecs:[A-Za-z0-9-_]+_[A-Za-z0-9]+_[A-Za-z0-9-]+)$`)

func (c *checker) ssm(v *SSM, s spot) {
	if c.has(s, "target", isText, true) && !ssmTarget.MatchString(v.Target) {
		c.report.atValue(s.down("target"), "write its ID, as in i-0123456789abcdef0", "this is no managed node of Systems Manager")
	}
	if c.has(s, "region", isText, false) && !rdsRegion.MatchString(v.Region) {
		c.report.atValue(s.down("region"), "write it as in eu-west-1", "this is no region of AWS")
	}
	c.has(s, "profile", isText, false)
	c.endpoint(s, "endpoint", v.Endpoint)
}

func (c *checker) socks5(v *SOCKS5, s spot) {
	if c.has(s, "address", isText, true) {
		host, port, err := net.SplitHostPort(v.Address)
		n, bad := strconv.ParseUint(port, 10, 16)
		if err != nil || bad != nil || n == 0 || (net.ParseIP(host) == nil && !hostname(host)) {
			c.report.atValue(s.down("address"), "write it as in proxy.example.com:1080", "this is no address of a proxy")
		}
	}
	c.has(s, "user", isText, false)
	if c.has(s, "secret", isText, false) {
		c.place(s.down("secret"), v.Secret)
		if s.node.get("user") == nil {
			c.report.atKey(s, "write user: beside it", "whose password the secret is, is not said")
		}
	} else if s.node.get("user") != nil {
		c.report.atKey(s, "write secret: beside it, with the place of the password", "the user of the proxy has no password")
	}
}

// viaFits checks that an instance can be reached the way that it or its environment says. s is where the instance stands.
func (c *checker) viaFits(env *Environment, inst *Instance, s spot) {
	v, at := wayOf(env, inst), s
	if inst.Via != nil {
		at = s.down("via")
	}
	if v == nil || v.Direct {
		return
	}
	const direct = "write via: {direct: true} below the instance, or change one of them"
	if v.SSM != nil && v.SSM.Region == "" && inst.RDS == nil {
		c.report.atKey(at, "write region: below ssm", "in which region the managed node is, is not said")
	}
	switch {
	case inst.CloudSQL != nil && inst.CloudSQL.Address == addressData:
		c.report.atKey(at, direct, "sql_data goes through Google's API, and cannot go another way, too")
	case inst.Postgres != nil && serverURL(inst.Postgres.URL).Socket():
		c.report.atKey(at, direct, "a Unix socket is on this machine, and cannot be reached another way")
	}
}

// local tells whether nothing of a session with a server leaves this machine, or the bastion that it is on.
func local(v *Via, s Server) bool {
	if v == nil || v.Direct {
		return s.Local()
	}
	return v.SSH != nil && !s.Socket() && s.Local()
}

// ambiguous is what identity adds for an address that names another server in each network: the way to it.
func (i *Instance) ambiguous(env *Environment) string {
	v := wayOf(env, i)
	if v.Key() == "" || i.Kind() != cloud.Postgres {
		return ""
	}
	host := i.Postgres.Server().Host
	addr, err := netip.ParseAddr(host)
	if loopback(host) || err == nil && addr.IsPrivate() {
		return " " + v.Key()
	}
	return ""
}
