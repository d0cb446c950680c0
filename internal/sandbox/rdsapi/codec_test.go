package rdsapi

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"

	"dbops/internal/sandbox/awsid"
)

// table is every operation, of an API without anything behind it.
func table(t *testing.T) map[string]operation {
	t.Helper()
	a := &API{}
	return a.operations()
}

// fill sets every field of v to something that is not its zero value; a list gets two members.
func fill(v reflect.Value, n *int) {
	*n++
	switch {
	case v.Type() == timeType:
		v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, *n%1000*1e6, time.UTC)))
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "ResultMetadata" {
				fill(v.Field(i), n)
			}
		}
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case v.Kind() == reflect.String:
		v.SetString("t<&> ü" + strings.Repeat("x", *n%7))
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(int64(*n))
	case v.CanFloat():
		v.SetFloat(float64(*n) + 0.5)
	default:
		panic("cannot fill " + v.Type().String())
	}
}

// call calls the method of client that has the name of an operation.
func call(t *testing.T, client *rds.Client, name string, in reflect.Value) (reflect.Value, error) {
	t.Helper()
	out := reflect.ValueOf(client).MethodByName(name).Call([]reflect.Value{reflect.ValueOf(t.Context()), in})
	err, _ := out[1].Interface().(error)
	return out[0], err
}

func anonymous(url string) *rds.Client {
	// A connection may be reset on a busy machine; the SDK tries again by itself, as it does for everybody.
	return rds.New(rds.Options{Region: "eu-west-1", BaseEndpoint: &url, Credentials: aws.AnonymousCredentials{}})
}

// TestEveryFieldSurvivesTheSDK sends inputs with every field set through the real client to our decoder, and outputs with every
// field set from our encoder through the real client. A wrong name of a list or a member loses its values.
func TestEveryFieldSurvivesTheSDK(t *testing.T) {
	t.Parallel()
	for name, o := range table(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got any
			method := reflect.ValueOf(&rds.Client{}).MethodByName(name).Type()
			in, out := reflect.New(method.In(1).Elem()), reflect.New(method.Out(0).Elem())
			n := 0
			fill(in.Elem(), &n)
			fill(out.Elem(), &n)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				form, err := url.ParseQuery(string(body))
				if err != nil {
					t.Error(err)
				}
				if got, err = o.decode(form); err != nil {
					t.Error(err)
				}
				xml, err := encodeXML(out.Interface())
				if err != nil {
					t.Error(err)
				}
				awsid.WriteResult(w, namespace, name, xml)
			}))
			defer srv.Close()
			answer, err := call(t, anonymous(srv.URL), name, in)
			if err != nil {
				t.Fatal(err)
			}
			if want := in.Interface(); !reflect.DeepEqual(got, want) {
				t.Errorf("input:\n got %s\nwant %s", text(got), text(want))
			}
			answer.Elem().FieldByName("ResultMetadata").SetZero()
			if !reflect.DeepEqual(answer.Interface(), out.Interface()) {
				t.Errorf("output:\n got %s\nwant %s", text(answer.Interface()), text(out.Interface()))
			}
			if !reflect.DeepEqual(clone(reflect.Indirect(out).Interface()), clone(reflect.Indirect(answer).Interface())) {
				t.Error("clones differ")
			}
		})
	}
}

// text is v for a message.
func text(v any) string {
	out, _ := encodeXML(v)
	return string(out)
}

// TestMembersAreNamedAsInTheSDK compares the table of list members with the source of the SDK's decoder.
func TestMembersAreNamedAsInTheSDK(t *testing.T) {
	t.Parallel()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/service/rds").Output()
	if err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "deserializers.go"))
	if err != nil {
		t.Fatal(err)
	}
	listForm := regexp.MustCompile(`(?ms)^func awsAwsquery_deserializeDocument(\w+)\(v \*\[\](\S+), decoder smithyxml\.NodeDecoder\) error \{$(.*?)^\}`)
	memberForm := regexp.MustCompile(`strings\.EqualFold\("(\w+)"`)
	type list struct{ elem, member string }
	lists := map[string]list{}
	for _, m := range listForm.FindAllSubmatch(src, -1) {
		if name := memberForm.FindSubmatch(m[3]); name != nil {
			lists[string(m[1])] = list{elem: strings.TrimPrefix(string(m[2]), "types."), member: string(name[1])}
		}
	}
	if len(lists) < 100 {
		t.Fatalf("only %d lists found: the SDK's source has another form now", len(lists))
	}
	fieldForm := regexp.MustCompile(`strings\.EqualFold\("(\w+)", t\.Name\.Local\):\s+nodeDecoder := [^\n]+\n\s+if err := awsAwsquery_deserializeDocument(\w+)\(&sv\.(\w+), nodeDecoder`)
	fields := map[string][]list{}
	for _, m := range fieldForm.FindAllSubmatch(src, -1) {
		if l, ok := lists[string(m[2])]; ok {
			fields[string(m[3])] = append(fields[string(m[3])], l)
		}
	}

	checked := 0
	var walk func(t *testing.T, typ reflect.Type, seen map[reflect.Type]bool)
	walk = func(t *testing.T, typ reflect.Type, seen map[reflect.Type]bool) {
		t.Helper()
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ == timeType || seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			f := typ.Field(i)
			if !f.IsExported() || f.Name == "ResultMetadata" {
				continue
			}
			if f.Type.Kind() == reflect.Slice {
				elem := f.Type.Elem()
				i := slices.IndexFunc(fields[f.Name], func(l list) bool { return l.elem == strings.TrimPrefix(elem.String(), "types.") })
				if i < 0 {
					t.Errorf("%s.%s: not found in the SDK's source", typ, f.Name)
					continue
				}
				if want, got := fields[f.Name][i].member, listMember(f.Name, elem); got != want {
					t.Errorf("%s.%s: members are called %q, the SDK reads %q", typ, f.Name, got, want)
				}
				checked++
			}
			walk(t, f.Type, seen)
		}
	}
	for name := range table(t) {
		method := reflect.ValueOf(&rds.Client{}).MethodByName(name).Type()
		walk(t, method.Out(0), map[reflect.Type]bool{})
	}
	if checked < 20 {
		t.Errorf("only %d lists were compared", checked)
	}
}

func TestHonouredFieldsExist(t *testing.T) {
	t.Parallel()
	for name, o := range table(t) {
		in, err := o.decode(url.Values{})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range o.honoured {
			if _, ok := reflect.TypeOf(in).Elem().FieldByName(f); !ok {
				t.Errorf("%s has no field %s", name, f)
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	many := url.Values{}
	for range 600 {
		many.Set("VpcSecurityGroupIds.VpcSecurityGroupId."+strconv.Itoa(len(many)+1), "x")
	}
	tests := []struct {
		name, want string
		form       url.Values
	}{
		{"a parameter that the API does not have", "unknown parameter Foo", url.Values{"Foo": {"1"}}},
		{"a list whose members have another name", "unknown parameter VpcSecurityGroupIds.member.1", url.Values{"VpcSecurityGroupIds.member.1": {"sg"}}},
		{"a list with a gap", "unknown parameter Tags.Tag.3.Key", url.Values{"Tags.Tag.1.Key": {"a"}, "Tags.Tag.3.Key": {"b"}}},
		{"a parameter given twice", "more than once", url.Values{"MultiAZ": {"true", "false"}}},
		{"a number that is none", "not a whole number", url.Values{"AllocatedStorage": {"ten"}}},
		{"a number that is too large", "not a whole number", url.Values{"AllocatedStorage": {"99999999999"}}},
		{"a truth that is none", "not true or false", url.Values{"MultiAZ": {"1"}}},
		{"a list without end", "more than 500 members", many},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := decodeQuery(tt.form, &rds.CreateDBInstanceInput{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	var in rds.CreateDBInstanceInput
	if err := decodeQuery(url.Values{"VpcSecurityGroupIds": {""}, "Action": {"x"}, "Version": {"y"}}, &in); err != nil || in.VpcSecurityGroupIds == nil {
		t.Errorf("an empty list: %v %v", in.VpcSecurityGroupIds, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("DBInstanceIdentifier=a&Tags.Tag.1.Key=k&Tags.Tag.1.Value=v&MultiAZ=true")
	f.Add("Filters.Filter.1.Values.Value.1=x")
	f.Fuzz(func(t *testing.T, body string) {
		form, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		var in rds.CreateDBInstanceInput
		if decodeQuery(form, &in) != nil {
			return
		}
		if _, err := encodeXML(&in); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPagesCoverEverythingOnce(t *testing.T) {
	t.Parallel()
	all := make([]string, 0, 60)
	for i := range 60 {
		all = append(all, string(rune('a'+i%26))+strconv.Itoa(i))
	}
	var got []string
	var marker *string
	for {
		part, next, err := page(slices.Clone(all), func(s string) string { return s }, marker, new(int32(20)))
		if err != nil {
			t.Fatal(err)
		}
		if len(part) == 0 || len(part) > 20 {
			t.Fatalf("a page of %d", len(part))
		}
		got = append(got, part...)
		if next == nil {
			break
		}
		marker = next
	}
	slices.Sort(all)
	if !slices.Equal(got, all) {
		t.Errorf("got %v", got)
	}
	for _, n := range []int32{0, 19, 101} {
		if _, _, err := page(all, func(s string) string { return s }, nil, &n); err == nil {
			t.Errorf("MaxRecords %d was accepted", n)
		}
	}
	if _, _, err := page(all, func(s string) string { return s }, new("%"), nil); err == nil {
		t.Error("a marker that nobody gave was accepted")
	}
}

func TestAWindowIsOpen(t *testing.T) {
	t.Parallel()
	at := func(s string) time.Time {
		x, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for _, tt := range []struct {
		window, now string // 2026-11-22 is a Sunday
		want        bool
	}{
		{"sun:04:00-sun:04:30", "2026-11-22T04:00:00Z", true},
		{"sun:04:00-sun:04:30", "2026-11-22T04:29:59Z", true},
		{"sun:04:00-sun:04:30", "2026-11-22T04:30:00Z", false},
		{"sun:04:00-sun:04:30", "2026-11-23T04:10:00Z", false},
		{"sun:04:00-sun:04:30", "2026-11-22T05:10:00+01:00", true},
		{"sat:23:45-sun:00:15", "2026-11-22T00:10:00Z", true},
		{"sat:23:45-sun:00:15", "2026-11-21T23:50:00Z", true},
		{"sat:23:45-sun:00:15", "2026-11-22T00:20:00Z", false},
		{"nonsense", "2026-11-22T00:20:00Z", false},
		{"unm:00:00-unm:23:00", "2026-11-22T00:20:00Z", false},
	} {
		if got := open(tt.window, at(tt.now)); got != tt.want {
			t.Errorf("%s at %s: %v", tt.window, tt.now, got)
		}
	}
}
