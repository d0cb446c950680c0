package encore

import (
	"regexp"
	"strings"

	"dbops/internal/fault"
)

// Kind is one of the formats.
type Kind string

// The formats.
const (
	InfraConfig   Kind = "infra"
	RuntimeConfig Kind = "runtime"
	AppSecrets    Kind = "secrets"
)

// ParseKind reads what a flag says.
func ParseKind(s string) (Kind, error) {
	switch k := Kind(s); k {
	case InfraConfig, RuntimeConfig, AppSecrets:
		return k, nil
	}
	return "", fault.Newf(fault.Usage, "", "unknown format %q", s).Hint("want infra, runtime or secrets")
}

// assignment is a line of an environment, which is not a value yet.
var assignment = regexp.MustCompile(`^(?:export\s+)?(ENCORE_RUNTIME_CONFIG|ENCORE_APP_SECRETS|ENCORE_INFRA_CONFIG_PATH)=`)

// DetectKind tells which of the formats a text is, or a fault.Config.
func DetectKind(text string) (Kind, error) {
	t := strings.TrimSpace(text)
	if m := assignment.FindStringSubmatch(t); m != nil {
		return "", fault.Newf(fault.Config, "", "this is an assignment, not the value of a variable").Hint("give what stands behind %s=", m[1])
	}
	if strings.HasPrefix(t, envrefPrefix) {
		return AppSecrets, nil
	}
	if looksLikeJSON([]byte(text)) {
		return jsonKind([]byte(text)), nil
	}
	plain, _, err := unpack(text)
	switch {
	case err == nil && (looksLikeJSON(plain) || isProtobuf(plain)):
		return RuntimeConfig, nil
	case err == nil && strings.HasPrefix(t, gzipPrefix), strings.Contains(t, "="), isProtobuf([]byte(text)):
		if isProtobuf([]byte(text)) {
			return RuntimeConfig, nil
		}
		return AppSecrets, nil
	}
	return "", fault.Newf(fault.Config, "", "this is none of Encore's formats: an infra config, a value of ENCORE_RUNTIME_CONFIG, or one of ENCORE_APP_SECRETS").
		Hint("--as infra, runtime or secrets says which it should be, and what is wrong with it then")
}

// jsonKind tells a runtime config by the keys that only it has.
func jsonKind(text []byte) Kind {
	doc, err := parseDocument(text)
	if err != nil {
		return InfraConfig // which says what is wrong
	}
	root, err := object(&doc.root, "")
	if err != nil {
		return InfraConfig
	}
	for _, key := range []string{"sql_databases", "app_slug", "env_id", "api_base_url", "deploy_id"} {
		if v, err := member(root, "", key); err == nil && v != nil {
			return RuntimeConfig
		}
	}
	return InfraConfig
}
