package world

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"dbops/internal/fault"
)

// superuser is the internal one: nobody but the world itself logs in as it, by certificate and past the edge.
const superuser = "sandbox_super"

var (
	validSetting = regexp.MustCompile(`^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$`)
	validGroup   = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)
	validRole    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.@-]{0,62}$`)
)

// defaults are the settings that a spec may change.
func (s *server) defaults() map[string]string {
	m := map[string]string{
		"timezone":              "UTC",
		"log_timezone":          "UTC",
		"log_line_prefix":       "%m [%p] %q%u@%d ",
		"max_connections":       "200",
		"max_wal_senders":       "10",
		"max_replication_slots": "10",
		"shared_buffers":        "32MB",
		"max_wal_size":          "256MB",
		"jit":                   "off",
		// LatestRestorable moves on, if anything happened.
		"archive_timeout": "60s",
	}
	if s.record.Major >= 18 {
		m["io_method"] = "sync" // one process for each worker is too much for a toy
	}
	if hasLibrary(s.cluster.bin, "pg_stat_statements") {
		m["shared_preload_libraries"] = "pg_stat_statements"
	}
	return m
}

// essentials are the settings without which the world would not work.
func (s *server) essentials(port int) map[string]string {
	return map[string]string{
		"hba_file":                 s.cluster.conf("pg_hba.conf"),
		"ident_file":               s.cluster.conf("pg_ident.conf"),
		"listen_addresses":         "127.0.0.1",
		"port":                     strconv.Itoa(port),
		"unix_socket_directories":  "",
		"cluster_name":             s.record.ID[:min(len(s.record.ID), 63)],
		"ssl":                      "on",
		"ssl_cert_file":            s.cluster.conf("server.crt"),
		"ssl_key_file":             s.cluster.conf("server.key"),
		"ssl_ca_file":              s.cluster.conf("roles.crt"),
		"ssl_min_protocol_version": "TLSv1.2",
		"password_encryption":      "scram-sha-256",
		"logging_collector":        "off",
		"wal_level":                "logical",
		"archive_mode":             "on",
		"archive_command":          archiveCommand(s.world.archiveDir(s.record.Archive)),
		// The data is a sandbox's: it outlives a crash of processes, and need not outlive one of the machine.
		"fsync": "off",
	}
}

// writeConf writes the configuration: the world's defaults, the spec's settings, what nobody may change, and extra for now.
func (s *server) writeConf(port int, extra map[string]string) error {
	all := s.defaults()
	maps.Copy(all, s.record.Settings)
	maps.Copy(all, s.essentials(port))
	maps.Copy(all, extra)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s = %s\n", name, quoteSetting(all[name]))
	}
	return errors.Join(
		writeFor(s.world.user, s.cluster.conf("postgresql.conf"), []byte(b.String())),
		writeFor(s.world.user, s.cluster.conf("pg_hba.conf"), []byte(s.hba())),
		writeFor(s.world.user, s.cluster.conf("pg_ident.conf"), nil),
		writeFor(s.world.user, s.cluster.conf("roles.crt"), s.world.ca.CertPEM),
	)
}

// hba says who may log in how. The edge shows the certificate of whatever role is asked for, so "cert" means: let the edge ask
// for a token. Physical replication has no line.
func (s *server) hba() string {
	var b strings.Builder
	line := func(who, how string) { fmt.Fprintf(&b, "hostssl all %s 127.0.0.1/32 %s\n", who, how) }
	line(superuser, "cert")
	if group := s.record.IAMGroup; group != "" {
		if s.record.Master != "" && s.record.Major >= 16 {
			line(`"`+s.record.Master+`"`, "scram-sha-256") // it is a member, only to be allowed to grant the group
		}
		line("+"+group, "cert")
	}
	line("all", "scram-sha-256")
	return b.String()
}

// checkSettings refuses settings that are malformed or the world's own.
func (s *server) checkSettings(settings map[string]string) error {
	own := s.essentials(0)
	for _, elsewhere := range []string{"include", "include_dir", "include_if_exists", "config_file", "data_directory", "external_pid_file"} {
		own[elsewhere] = ""
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		_, taken := own[name]
		if taken || !validSetting.MatchString(name) || strings.ContainsAny(settings[name], "\n\r\x00") {
			return fault.Newf(fault.Invalid, "configure server "+s.record.ID, "setting %q is not one that can be set here", name)
		}
	}
	return nil
}

func quoteSetting(v string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(v) + "'"
}

// archiveCommand copies under another name first, so that a file of the archive is whole, and keeps the time of the last write,
// which says up to when the archive goes. A file that is there already came from a try that the server did not hear back from.
func archiveCommand(dir string) string {
	whole := shellQuote(filepath.Join(escapePercent(dir), "%f"))
	part := shellQuote(filepath.Join(escapePercent(dir), "%f.part"))
	return "cp -p %p " + part + " && mv " + part + " " + whole
}

func restoreCommand(dir string) string {
	return "cp " + shellQuote(filepath.Join(escapePercent(dir), "%f")) + " %p"
}

func escapePercent(s string) string { return strings.ReplaceAll(s, "%", "%%") }

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// encodePair is a certificate as the two PEM files that PostgreSQL reads. It checks that they belong together.
func encodePair(cert tls.Certificate) (crt, key []byte, err error) {
	for _, der := range cert.Certificate {
		crt = append(crt, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return nil, nil, err
	}
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	_, err = tls.X509KeyPair(crt, key)
	return crt, key, err
}

// writeCertificate writes the files of a certificate; the server reads them at its next start or reload.
func (s *server) writeCertificate(cert tls.Certificate) error {
	crt, key, err := encodePair(cert)
	if err != nil {
		return fmt.Errorf("server certificate: %w", err)
	}
	// The key first: between the two writes the pair does not match, and a server that reads it then keeps the one it has.
	return errors.Join(
		writeFor(s.world.user, s.cluster.conf("server.key"), key),
		writeFor(s.world.user, s.cluster.conf("server.crt"), crt),
	)
}
