package awsclient

import (
	"context"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// client is a client with fixed credentials whose requests are answered by transport.
func client(t *testing.T, transport http.RoundTripper) *Client {
	t.Helper()
	c, err := Load(t.Context(), Options{Region: "eu-west-1", HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	c.chain.now = credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "hunter2", "")
	return c
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answer is a transport that always gives one answer, and counts.
func answer(status int, body string, count *int) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		*count++
		w := httptest.NewRecorder()
		w.Header().Set("x-amzn-RequestId", "00000000-0000-4000-8000-000000000000")
		w.WriteHeader(status)
		_, _ = w.WriteString(body)
		resp := w.Result()
		resp.Request = r
		return resp, nil
	})
}

func rdsError(code, message string) string {
	var text strings.Builder
	_ = xml.EscapeText(&text, []byte(message))
	return fmt.Sprintf(`<ErrorResponse xmlns="http://rds.amazonaws.com/doc/2014-10-31/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>00000000-0000-4000-8000-000000000000</RequestId></ErrorResponse>`, code, text.String())
}

func TestAnswersOfRDS(t *testing.T) {
	t.Parallel()
	const user = "User: arn:aws:sts::123456789012:assumed-role/ops/me is not authorized to perform: "
	for _, c := range []struct {
		code       string
		status     int
		message    string
		kind       fault.Kind
		text       string
		permission string
		attempts   int
	}{
		{"DBInstanceNotFound", 404, "DBInstance orders not found.", fault.NotFound, "DBInstance orders not found (DBInstanceNotFound)", "", 1},
		{"DBParameterGroupNotFound", 404, "x", fault.NotFound, "", "", 1},
		{"AccessDenied", 403, user + "rds:DescribeDBInstances on resource: arn:aws:rds:eu-west-1:123456789012:db:orders because no identity-based policy allows the rds:DescribeDBInstances action", fault.Denied, "not authorized to perform: rds:DescribeDBInstances", "rds:DescribeDBInstances", 1},
		{"AccessDenied", 403, user + "rds:ListTagsForResource with an explicit deny in a service control policy", fault.Denied, "", "rds:ListTagsForResource", 1},
		{"AccessDenied", 403, "Access is denied", fault.Denied, "", "rds:DescribeDBInstances", 1},
		{"AccessDeniedException", 400, "", fault.Denied, "AWS gave no reason (AccessDeniedException)", "rds:DescribeDBInstances", 1},
		{"UnauthorizedOperation", 403, "x", fault.Denied, "", "rds:DescribeDBInstances", 1},
		{"KMSKeyNotAccessibleFault", 400, "The KMS key cannot be used", fault.Denied, "", "kms:Decrypt", 1},
		{"ExpiredToken", 403, "The security token included in the request is expired", fault.Denied, "", "", 1},
		{"InvalidClientTokenId", 403, "The security token included in the request is invalid.", fault.Denied, "", "", 1},
		{"SignatureDoesNotMatch", 403, "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z", fault.Denied, "", "", 1},
		{"OptInRequired", 403, "The AWS Access Key Id needs a subscription for the service", fault.Denied, "", "rds:DescribeDBInstances", 1},
		{"Throttling", 400, "Rate exceeded", fault.Throttled, "Rate exceeded (Throttling)", "", 4},
		{"RequestLimitExceeded", 503, "x", fault.Throttled, "", "", 4},
		{"InvalidDBInstanceState", 400, "Instance orders is not in available state", fault.Busy, "", "", 1},
		{"InvalidDBClusterStateFault", 400, "x", fault.Busy, "", "", 1},
		{"InvalidParameterValue", 400, "Invalid database identifier:  -orders", fault.Invalid, "", "", 1},
		{"DBInstanceAlreadyExists", 400, "x", fault.Invalid, "", "", 1},
		{"InternalFailure", 500, "x", fault.Unavailable, "", "", 4},
		{"ServiceUnavailable", 503, "x", fault.Unavailable, "", "", 4},
		{"SomethingNew", 400, "x", fault.Invalid, "", "", 1},
		{"SomethingNew", 403, "x", fault.Denied, "", "rds:DescribeDBInstances", 1},
		{"SomethingNew", 502, "x", fault.Unavailable, "", "", 4},
		{"SomethingNew", 429, "x", fault.Throttled, "", "", 1},
	} {
		t.Run(fmt.Sprintf("%s with status %d", c.code, c.status), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // the pauses between attempts take no time
				attempts := 0
				err := ask(t.Context(), client(t, answer(c.status, rdsError(c.code, c.message), &attempts)), "http://rds.test")
				check(t, err, c.kind, c.text, "")
				if got := fault.PermissionOf(err); got != c.permission {
					t.Errorf("permission %q, want %q", got, c.permission)
				}
				if attempts != c.attempts {
					t.Errorf("%d attempts, want %d", attempts, c.attempts)
				}
				if api, ok := errors.AsType[smithy.APIError](err); !ok || (api.ErrorCode() != c.code && api.ErrorCode()+"Fault" != c.code) {
					t.Errorf("the SDK's error is not in the chain: %v", api)
				}
				if strings.Contains(err.Error(), "00000000-") || strings.Contains(err.Error(), "operation error") {
					t.Errorf("it says more than a person needs: %v", err)
				}
				if c.kind != fault.Invalid && fault.HintOf(err) == "" {
					t.Error("there is no hint")
				}
			})
		})
	}
}

func TestANameThatIsTakenIsSaidSo(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"DBInstanceAlreadyExists": true, "DBSnapshotAlreadyExists": true, "ResourceExistsException": true, "InvalidDBInstanceState": false,
	} {
		n := 0
		err := ask(t.Context(), client(t, answer(400, rdsError(code, "x"), &n)), "http://rds.test")
		if errors.Is(err, cloud.ErrExists) != want {
			t.Errorf("%s: %v", code, err)
		}
	}
}

func TestTypedFaultsStayInTheChain(t *testing.T) {
	t.Parallel()
	n := 0
	err := ask(t.Context(), client(t, answer(404, rdsError("DBInstanceNotFound", "x"), &n)), "http://rds.test")
	if _, ok := errors.AsType[*types.DBInstanceNotFoundFault](err); !ok {
		t.Errorf("got %v", err)
	}
}

func TestAnswersOfSecretsManager(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code       string
		message    string
		kind       fault.Kind
		permission string
	}{
		{"ResourceNotFoundException", "Secrets Manager can't find the specified secret.", fault.NotFound, ""},
		{"AccessDeniedException", "User: x is not authorized to perform: secretsmanager:GetSecretValue on resource: orders because no identity-based policy allows it", fault.Denied, "secretsmanager:GetSecretValue"},
		{"AccessDeniedException", "Access to KMS is not allowed", fault.Denied, "kms:Decrypt"},
		{"DecryptionFailure", "Secrets Manager can't decrypt the protected secret text using the provided KMS key.", fault.Denied, "kms:Decrypt"},
		{"UnrecognizedClientException", "The security token included in the request is invalid.", fault.Denied, ""},
		{"ThrottlingException", "Rate exceeded", fault.Throttled, ""},
		{"InternalServiceError", "x", fault.Unavailable, ""},
		{"InvalidParameterException", "x", fault.Invalid, ""},
		{"PreconditionNotMetException", "x", fault.Stale, ""},
	} {
		t.Run(c.code+" "+c.message, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := 0
				cl := client(t, answer(400, fmt.Sprintf(`{"__type":%q,"Message":%q}`, c.code, c.message), &n))
				_, err := secretsmanager.NewFromConfig(cl.Config).GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("orders")})
				err = cl.Fault(t.Context(), "read secret", err)
				check(t, err, c.kind, "("+c.code+")", "")
				if got := fault.PermissionOf(err); got != c.permission {
					t.Errorf("permission %q, want %q", got, c.permission)
				}
			})
		})
	}
}

func TestWhatDoesNotAnswerIsUnavailable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		transport  http.RoundTripper
		text, hint string
	}{
		{"the certificate is a company proxy's", roundTrip(func(*http.Request) (*http.Response, error) {
			return nil, x509.UnknownAuthorityError{}
		}), "signed by an unknown CA, which is not trusted here", "AWS_CA_BUNDLE"},
		{"something else answers", answer(407, "<html>proxy login</html>", new(int)), "none of AWS's: HTTP status 407", "proxy"},
		{"a load balancer answers", answer(502, "<html>", new(int)), "none of AWS's: HTTP status 502", "endpoint"},
		{"a web server answers as if all were well", answer(200, "<html></html>", new(int)), "none of AWS's", "endpoint"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				check(t, ask(t.Context(), client(t, c.transport), "http://rds.test"), fault.Unavailable, c.text, c.hint)
			})
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			down := roundTrip(func(r *http.Request) (*http.Response, error) { return nil, errRefused(r) })
			check(t, ask(t.Context(), client(t, down), "http://rds.test"), fault.Unavailable, "nobody listens at 127.0.0.1:4566", "endpoint in dbops.yaml")
		})
	})
}

func TestASilentServerIsGivenUpInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := client(t, silent)
		ctx, cancel := context.WithTimeout(t.Context(), Timeout)
		defer cancel()
		start := time.Now()
		check(t, ask(ctx, c, "http://rds.test"), fault.Unavailable, "no answer in time", "VPN")
		if took := time.Since(start); took != Timeout {
			t.Errorf("it took %s", took)
		}
	})
}

func TestAnInterruptIsNotAFailureOfAWS(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		err := ask(ctx, client(t, silent), "http://rds.test")
		check(t, err, fault.Interrupted, "describe orders: interrupted", "")
		if fault.ExitStatus(err) != 130 {
			t.Errorf("exit status %d", fault.ExitStatus(err))
		}
	})
}

var silent = roundTrip(func(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
})

func TestAFaultStaysWhatItIs(t *testing.T) {
	t.Parallel()
	c := client(t, silent)
	f := fault.Newf(fault.Config, "op", "x")
	if got := c.Fault(t.Context(), "other", fmt.Errorf("deep: %w", f)); !errors.Is(got, f) || got.Error() != f.Error() {
		t.Errorf("got %v", got)
	}
	if got := c.Fault(t.Context(), "op", nil); got != nil {
		t.Errorf("nil became %v", got)
	}
	if got := c.Fault(t.Context(), "op", errors.New("odd\nthing")); fault.KindOf(got) != fault.Internal || got.Error() != "op: odd thing" {
		t.Errorf("got %v", got)
	}
}

func errRefused(r *http.Request) error {
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4566}
	return &url.Error{Op: "Post", URL: r.URL.String(), Err: &net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}}
}
