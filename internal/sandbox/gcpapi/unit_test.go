package gcpapi

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"

	sqladmin "google.golang.org/api/sqladmin/v1"
)

func TestABodyIsHonouredFieldByField(t *testing.T) {
	t.Parallel()
	for body, wanted := range map[string]string{
		`{}`: "",
		`{"settings":{"tier":"x","userLabels":{"a":"b"},"databaseFlags":[{"name":"a","value":"b"}]}}`:              "",
		`{"settings":{"userLabels":null,"deletionProtectionEnabled":false}}`:                                       "",
		`{"etag":"x","kind":"sql#instance","ipAddresses":[{"type":"PRIMARY"}],"settings":{"settingsVersion":"3"}}`: "",
		`{"settings":{"insightsConfig":{}}}`:                                                                       "not emulated: field settings.insightsConfig",
		`{"settings":{"ipConfiguration":{"authorizedNetworks":[{"value":"0.0.0.0"}]}}}`:                            "not emulated: field settings.ipConfiguration.authorizedNetworks",
		`{"rootPassword":"x"}`:                          "not emulated: field rootPassword",
		`{"settings":{"availability":"REGIONAL"}}`:      `Unknown name "availability" at 'settings'`,
		`{"settings":{"databaseFlags":[{"nome":"a"}]}}`: `Unknown name "nome" at 'settings.databaseFlags[]'`,
		`{"settings":{"tier":7}}`:                       "wrong type",
		`[]`:                                            "Invalid JSON",
	} {
		_, err := instanceFields().decode([]byte(body), &sqladmin.DatabaseInstance{})
		if wanted == "" && err != nil || wanted != "" && (err == nil || !strings.Contains(err.Error(), wanted)) {
			t.Errorf("%s: got %v, want %q", body, err, wanted)
		}
	}
}

func TestPathsMatchPatterns(t *testing.T) {
	t.Parallel()
	s := &Server{}
	for path, wanted := range map[string]string{
		"projects/p/instances":                           "instances.list",
		"projects/p/instances/i":                         "instances.get",
		"projects/p/instances/i/users":                   "users.list",
		"projects/p/instances/i/users/dev%40example.com": "users.get",
		"projects/p/instances/i/connectSettings":         "connectSettings",
		"projects/p/operations/o":                        "operations.get",
		"projects/p/instances/i:nothing":                 "",
		"projects/p/instances/":                          "",
		"projects/p":                                     "",
		"projects/p/instances/i/databases/d/more":        "",
		"projects/p/instances/i/databases/a%2Fb":         "databases.get",
	} {
		got := ""
		for _, rt := range s.table() {
			if _, ok := match(rt.pattern, path); ok && rt.method == "GET" {
				got = rt.action
			}
		}
		if got != wanted {
			t.Errorf("%s: %q, want %q", path, got, wanted)
		}
	}
	params, ok := match("projects/{project}/instances/{instance}:generateEphemeralCert", "projects/p/instances/i:generateEphemeralCert")
	if !ok || params["instance"] != "i" {
		t.Errorf("%v %v", params, ok)
	}
}

func TestFiltersSelectInstances(t *testing.T) {
	t.Parallel()
	db := &sqladmin.DatabaseInstance{Name: "main", State: "RUNNABLE", Settings: &sqladmin.Settings{UserLabels: map[string]string{"env": "prod"}}}
	for filter, wanted := range map[string]bool{
		"": true, "name:main": true, "name=other": false, "settings.userLabels.env:prod": true,
		"settings.userLabels.env:prod AND name:main": true, "settings.userLabels.env:prod name:x": false,
		`state:"RUNNABLE"`: true, "settings.userLabels.team:a": false,
	} {
		keep, err := parseFilter(filter)
		if err != nil || keep(db) != wanted {
			t.Errorf("%q: %v", filter, err)
		}
	}
	for _, filter := range []string{"settings.tier:x", "name", "(name:a)", "name:a*", "name!=a"} {
		if _, err := parseFilter(filter); err == nil {
			t.Errorf("%q is accepted", filter)
		}
	}
}

func TestTiersAreKnown(t *testing.T) {
	t.Parallel()
	for tier, wanted := range map[string]bool{
		"db-f1-micro": true, "db-custom-2-7680": true, "db-custom-6-12288": true, "db-custom-2-7680x": false, "db-custom-2-7681": false,
		"db.r6g.large": false, "": false, "db-custom-0-7680": false,
	} {
		if knownTier(tier) != wanted {
			t.Errorf("%q: %v", tier, !wanted)
		}
	}
}

// duplex reads from one side and writes to the other.
type duplex struct {
	io.Reader
	io.Writer
}

func TestMetadataExchangeIsAnswered(t *testing.T) {
	t.Parallel()
	message := binary.BigEndian.AppendUint32([]byte(mdxSignature), 2)
	message = append(message, 0x10, 0x01)
	message = append(message, "startup"...)
	in, out := bytes.NewReader(message), new(bytes.Buffer)
	rest, err := exchangeMetadata(duplex{in, out})
	if err != nil || len(rest) != 0 || in.Len() != len("startup") {
		t.Errorf("%q, %v, %d left", rest, err, in.Len())
	}
	if !slices.Equal(out.Bytes(), []byte("CSQLMDEX\x00\x00\x00\x02\x08\x01")) {
		t.Errorf("answer %q", out.Bytes())
	}
	rest, err = exchangeMetadata(duplex{strings.NewReader("\x00\x00\x00\x08\x04\xd2\x16\x2fmore"), out})
	if err != nil || len(rest) != 8 {
		t.Errorf("a session without: %q, %v", rest, err)
	}
	if _, err = exchangeMetadata(duplex{strings.NewReader("CSQLMDEX\xff\xff\xff\xff"), out}); err == nil {
		t.Error("a message of 4 GB is read")
	}
}

func FuzzExchangeMetadata(f *testing.F) {
	f.Add([]byte("CSQLMDEX\x00\x00\x00\x02\x10\x01"))
	f.Add([]byte("\x00\x00\x00\x08\x04\xd2\x16\x2f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rest, err := exchangeMetadata(duplex{bytes.NewReader(b), io.Discard})
		if err == nil && rest != nil && !bytes.Equal(rest, b[:len(rest)]) {
			t.Errorf("%q became %q", b, rest)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"settings":{"userLabels":{"a":"b"}}}`))
	f.Add([]byte(`{"settings":{"databaseFlags":[{"name":"a"}],"x":[[{}]]}}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = instanceFields().decode(b, &sqladmin.DatabaseInstance{})
	})
}

func TestAMissingLoopbackAddressIsNamed(t *testing.T) {
	t.Parallel()
	// As on macOS, where nothing of 127.64.0.0/10 is there before somebody adds it.
	_, err := aliasedAddress(t.Context(), map[string]bool{"127.64.0.1": true})
	if err == nil || !strings.Contains(err.Error(), "sudo ifconfig lo0 alias 127.64.0.2") {
		t.Errorf("got %v", err)
	}
	ip, err := freeAddress(t.Context(), nil)
	if err != nil || !strings.HasPrefix(ip, "127.") || ip == "127.0.0.1" {
		t.Errorf("%s, %v", ip, err)
	}
}

func TestFlagsAndMachinesAreListed(t *testing.T) {
	t.Parallel()
	svc := theCloud(t).api(t, admin)
	flags, err := svc.Flags.List().DatabaseVersion("POSTGRES_16").Do()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(flags.Items, func(f *sqladmin.Flag) bool { return f.Name == "max_connections" })
	if i < 0 || !flags.Items[i].RequiresRestart || flags.Items[i].Type != "INTEGER" || flags.Items[i].AppliesTo[0] != "POSTGRES_16" {
		t.Errorf("%+v", flags.Items)
	}
	if flags, err = svc.Flags.List().Do(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"vacuum_defer_cleanup_age": {"POSTGRES_14", "POSTGRES_15"}, "old_snapshot_threshold": {"POSTGRES_14", "POSTGRES_15", "POSTGRES_16"}, "work_mem": versions(),
	} {
		i := slices.IndexFunc(flags.Items, func(f *sqladmin.Flag) bool { return f.Name == name })
		if i < 0 || !slices.Equal(flags.Items[i].AppliesTo, want) {
			t.Errorf("%s applies not to %v: %+v", name, want, flags.Items[max(i, 0)])
		}
	}
	machines, err := svc.Tiers.List(project).Do()
	if err != nil || !slices.ContainsFunc(machines.Items, func(m *sqladmin.Tier) bool { return m.Tier == "db-custom-2-7680" && m.RAM == 7680<<20 }) {
		t.Errorf("%v, %v", machines, err)
	}
}
