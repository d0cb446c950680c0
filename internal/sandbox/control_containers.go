package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"dbops/internal/fault"
	"dbops/internal/sandbox/containers"
)

// rolloutTimeout bounds a deployment that somebody waits for.
const rolloutTimeout = 10 * time.Minute

// ContainerChange is what to change on a container of the sandbox. What is nil stays.
type ContainerChange struct {
	ID      string              `json:"id"` // environment/name; empty: all
	Reset   bool                `json:"reset,omitempty"`
	Rate    *float64            `json:"rate,omitempty"`
	Trouble *containers.Trouble `json:"trouble,omitempty"`
}

// Containers tell how they are.
func (s *Sandbox) Containers() []containers.Status {
	out := make([]containers.Status, 0, len(s.containers))
	for _, c := range s.containers {
		out = append(out, c.Status())
	}
	return out
}

// ChangeContainers does what ch says. It tells whether there is a container of that ID.
func (s *Sandbox) ChangeContainers(ch ContainerChange) (found bool) {
	for _, c := range s.containers {
		if ch.ID != "" && ch.ID != c.ID() {
			continue
		}
		found = true
		if ch.Reset {
			c.Reset()
		}
		if ch.Rate != nil {
			c.SetRate(*ch.Rate)
		}
		if ch.Trouble != nil {
			c.SetTrouble(*ch.Trouble)
		}
	}
	return found
}

// controlContainers adds the containers to the control socket.
func (s *Sandbox) controlContainers(mux *http.ServeMux) {
	mux.HandleFunc("GET /containers", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.Containers()) })
	mux.HandleFunc("PATCH /containers", func(w http.ResponseWriter, r *http.Request) {
		var ch ContainerChange
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&ch); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if !s.ChangeContainers(ch) {
			http.Error(w, "no container is called "+ch.ID, http.StatusNotFound)
			return
		}
		answer(w, s.Containers())
	})
	mux.HandleFunc("POST /containers/{env}/{name}/rollout", func(w http.ResponseWriter, r *http.Request) {
		c := s.Container(r.PathValue("env"), r.PathValue("name"))
		switch {
		case c == nil:
			http.Error(w, "no container is called "+r.PathValue("env")+"/"+r.PathValue("name"), http.StatusNotFound)
		case c.Status().Platform != onCommand:
			http.Error(w, c.ID()+" runs on "+c.Status().Platform, http.StatusConflict)
		default:
			if err := c.Rollout(r.Context()); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			answer(w, c.Status())
		}
	})
}

// ContainersOf asks the sandbox in dir for its containers. One that does not run is a fault.Unavailable.
func ContainersOf(ctx context.Context, dir string) ([]containers.Status, error) {
	var out []containers.Status
	err := call(ctx, dir, http.MethodGet, "/containers", nil, &out)
	return out, refused(dir, "", err)
}

// ChangeContainersOf changes containers of the sandbox in dir, and returns all of them. An unknown name is a fault.Usage.
func ChangeContainersOf(ctx context.Context, dir string, ch ContainerChange) ([]containers.Status, error) {
	var out []containers.Status
	err := call(ctx, dir, http.MethodPatch, "/containers", ch, &out)
	return out, refused(dir, ch.ID, err)
}

// Rollout deploys a container of the sandbox in dir anew, and waits for it. One that a cloud deploys is a fault.Usage.
func Rollout(ctx context.Context, dir, id string) (containers.Status, error) {
	var out containers.Status
	err := callWithin(ctx, rolloutTimeout, dir, http.MethodPost, "/containers/"+id+"/rollout", nil, &out)
	return out, refused(dir, id, err)
}

// refused tells a no of the supervisor from its absence.
func refused(dir, id string, err error) error {
	no, ok := errors.AsType[*refusal](err)
	if !ok {
		return notRunning(dir, err)
	}
	op := "ask the sandbox in " + dir
	switch no.status {
	case http.StatusNotFound:
		return fault.Newf(fault.Usage, op, "%s", no.text).Hint("dbops sandbox containers lists them")
	case http.StatusConflict:
		return fault.Newf(fault.Usage, "roll out "+id, "%s, which deploys it", no.text).
			Hint("aws ecs update-service --force-new-deployment, or a new revision of the Cloud Run service")
	}
	return fault.Newf(fault.Internal, op, "%s", no.text).Hint("dbops sandbox containers shows it")
}
