package cloud

import (
	"strings"
	"testing"
)

func TestMajor(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]int{
		"14.23": 14, "9.6.24": 9, "POSTGRES_15": 15, "POSTGRES_9_6": 9, "POSTGRES_16_4": 16, "18": 18,
		"16.4 (Debian 16.4-1.pgdg120+1)": 16, "17beta2": 17, "": 0, "MYSQL_8_0": 0, "devel": 0, "80034": 0,
		"99999999999999999999": 0,
	} {
		if got := Major(version); got != want {
			t.Errorf("%q: %d, want %d", version, got, want)
		}
	}
}

func TestRawKeepsWhatIsToldAndNoSecrets(t *testing.T) {
	t.Parallel()
	type inner struct {
		Password *string
		Port     int
	}
	pw := "hunter2"
	got := string(Raw(struct {
		Name, Empty, RootPassword, MasterUserPassword, ClientKey string
		Nothing                                                  *int
		None                                                     []string
		Many                                                     []inner
		Policy                                                   map[string]any `json:"passwordValidationPolicy"`
		Off                                                      bool
		Big                                                      int64
	}{
		Name: "a<b", RootPassword: pw, MasterUserPassword: pw, ClientKey: pw, Many: []inner{{&pw, 1}, {}},
		Policy: map[string]any{"minLength": 8, "nested": map[string]any{"userPassword": pw}}, Big: 9007199254740993,
	}))
	want := `{"Big":9007199254740993,"Many":[{"Port":1},{"Port":0}],"Name":"a\u003cb","Off":false,"passwordValidationPolicy":{"minLength":8}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if Raw(make(chan int)) != nil {
		t.Error("what is no JSON is not nil")
	}
	if strings.Contains(got, pw) {
		t.Error("it holds a secret")
	}
}
