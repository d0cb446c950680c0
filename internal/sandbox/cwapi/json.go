package cwapi

import (
	"net/http"
	"strings"
	"time"

	"dbops/internal/sandbox/awsid"
)

const targetPrefix = "GraniteServiceVersion20100801."

// jsonRPC is the JSON protocol, with times in seconds since 1970.
type jsonRPC struct{}

func isJSON(r *http.Request) bool { return r.Header.Get("X-Amz-Target") != "" }

func (jsonRPC) action(r *http.Request, _ []byte) (string, error) {
	name, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
	if !ok {
		return "", awsid.Newf(404, "UnknownOperationException", "nothing is called %s", r.Header.Get("X-Amz-Target"))
	}
	return name, nil
}

func (jsonRPC) decode(body []byte, in *input) error {
	var j struct {
		StartTime, EndTime awsid.Epoch
		MetricDataQueries  []dataQuery
		ScanBy             string
	}
	if err := awsid.DecodeJSON(body, &j); err != nil {
		return err
	}
	*in = input{time.Time(j.StartTime), time.Time(j.EndTime), j.MetricDataQueries, j.ScanBy}
	return nil
}

func (jsonRPC) write(w http.ResponseWriter, _ string, out *output, err error) {
	if err != nil {
		queryError(w, err)
		awsid.WriteJSON(w, nil, err)
		return
	}
	type timed struct {
		result
		Timestamps []awsid.Epoch
	}
	all := []timed{}
	for _, r := range out.MetricDataResults {
		one := timed{r, []awsid.Epoch{}}
		for _, at := range r.Timestamps {
			one.Timestamps = append(one.Timestamps, awsid.Epoch(at))
		}
		all = append(all, one)
	}
	awsid.WriteJSON(w, map[string]any{"MetricDataResults": all, "Messages": out.Messages}, nil)
}
