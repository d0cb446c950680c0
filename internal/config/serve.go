package config

// Right is what somebody may do at dbops serve. Each includes those before it.
type Right string

// The rights.
const (
	MayRead    Right = "read" // the default
	MayChange  Right = "change"
	MayApprove Right = "approve"
)

func rights() []string { return []string{string(MayRead), string(MayChange), string(MayApprove)} }

// Right is what the person of that name may do at dbops serve.
func (s Serve) Right(name string) Right {
	if r, ok := s.Users[name]; ok {
		return r
	}
	return MayRead
}

// serve checks what people may do. Whether the allowed signers have them is for who reads that file.
func (c *checker) serve(cfg *Config, s spot) {
	if !c.has(s, "serve", isMapping, false) || !c.has(s.down("serve"), "users", isMapping, false) {
		return
	}
	users := s.down("serve", "users")
	if cfg.Approvals.AllowedSigners == "" && len(users.node.pairs) > 0 {
		c.report.atKey(users, "write approvals: {allowed_signers: FILE}", "nothing says which keys these people have")
	}
	for _, p := range users.node.pairs {
		if c.has(users, p.key, isText, true) {
			c.oneOf(users.down(p.key), "right", string(cfg.Serve.Users[p.key]), rights())
		}
	}
}
