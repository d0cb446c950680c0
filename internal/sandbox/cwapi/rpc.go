package cwapi

import (
	"errors"
	"net/http"
	"strings"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/uuid"

	"dbops/internal/sandbox/awsid"
)

const (
	protocolHeader = "Smithy-Protocol"
	cborProtocol   = "rpc-v2-cbor"
	cborType       = "application/cbor"
	operations     = "/service/GraniteServiceVersion20100801/operation/"
)

// rpc is Smithy's RPC v2 with CBOR.
type rpc struct{}

func isCBOR(r *http.Request) bool { return r.Header.Get(protocolHeader) == cborProtocol }

func (rpc) action(r *http.Request, _ []byte) (string, error) {
	name, ok := strings.CutPrefix(r.URL.Path, operations)
	if !ok || r.Method != http.MethodPost || r.Header.Get("Content-Type") != cborType {
		return "", awsid.Newf(404, "UnknownOperationException", "nothing is served at %s", r.URL.Path)
	}
	return name, nil
}

func (rpc) decode(body []byte, in *input) error {
	mode, err := cbor.DecOptions{ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, DupMapKey: cbor.DupMapKeyEnforcedAPF}.DecMode()
	if err != nil {
		return err
	}
	err = mode.Unmarshal(body, in)
	if _, ok := errors.AsType[*cbor.UnknownFieldError](err); ok {
		return awsid.NotEmulated("a member of this GetMetricData: only MetricDataQueries (Id, MetricStat without Unit, ReturnData), StartTime, EndTime, ScanBy are")
	}
	if err != nil {
		return awsid.Newf(400, "SerializationException", "the request is not what the action takes: %v", err)
	}
	return nil
}

// queryError tells the code that an error has in the query protocol, which clients of the others go by.
func queryError(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*awsid.Error](err)
	if !ok {
		return
	}
	side := "Sender"
	if e.Status >= http.StatusInternalServerError {
		side = "Receiver"
	}
	w.Header().Set("X-Amzn-Query-Error", e.Code+";"+side)
}

func (rpc) write(w http.ResponseWriter, _ string, out *output, err error) {
	h := w.Header()
	h.Set(protocolHeader, cborProtocol)
	h.Set("Content-Type", cborType)
	h.Set("X-Amzn-Requestid", uuid.NewString())
	var body any = out
	status := http.StatusOK
	if err != nil {
		queryError(w, err)
		e := awsid.SpokenJSON(err)
		body, status = map[string]string{"__type": "com.amazonaws.cloudwatch#" + e.Code, "message": e.Message}, e.Status
	}
	mode, err := cbor.EncOptions{Time: cbor.TimeUnixDynamic, TimeTag: cbor.EncTagRequired}.EncMode()
	var b []byte
	if err == nil {
		b, err = mode.Marshal(body)
	}
	if err != nil {
		status = http.StatusInternalServerError
	}
	w.WriteHeader(status)
	_, _ = w.Write(b) //nolint:gosec // it is CBOR, and no page; the client is gone if it fails
}
