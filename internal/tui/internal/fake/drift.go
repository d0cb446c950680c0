package fake

import (
	"context"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/drift"
	"dbops/internal/fault"
)

// EditDrift changes every report on drift that is made from now on.
func (c *Core) EditDrift(edit func(*drift.Report)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.editDrift = edit
}

// Drift implements [core.Drift].
func (c *Core) Drift(ctx context.Context, env, instance string, _ bool) (*drift.Report, error) {
	all, err := c.Instances(env)
	if err != nil {
		return nil, err
	}
	out := &drift.Report{Schema: drift.Schema}
	for _, i := range all {
		if instance != "" && i.Name != instance {
			continue
		}
		st := c.ask(ctx, i)
		if ctx.Err() != nil {
			return nil, fault.New(fault.Interrupted, "look for drift", ctx.Err())
		}
		driftOf(out, st)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.editDrift != nil {
		c.editDrift(out)
	}
	return out, nil
}

// driftOf adds how an instance stands to a report: one of them drifted.
func driftOf(out *drift.Report, st app.Status) {
	env, instance := st.Environment, st.Name
	looked := drift.Looked{Environment: env, Instance: instance, Provider: st.Provider, Profile: env}
	if st.Live == nil {
		looked.Err, looked.Problem, looked.Hint = st.Err, st.Err.Error(), fault.HintOf(st.Err)
		out.Instances = append(out.Instances, looked)
		return
	}
	out.Instances = append(out.Instances, looked)
	if st.Provider == cloud.Postgres {
		return
	}
	fix := "dbops drift -e " + env + " " + instance + " --fix"
	row := func(setting string, status drift.Status, declared, live, last string, cause drift.Cause, detail, remedy string) {
		out.Rows = append(out.Rows, drift.Row{
			Environment: env, Instance: instance, Setting: setting, Status: status, Declared: declared, Live: live, LastApplied: last, Cause: cause,
			Detail: detail, Remedy: remedy,
		})
	}
	row("availability", drift.InSync, "regional", "regional", "regional", "", "", "")
	if env == "prod" && instance == "orders-main" {
		row("backups.retention_days", drift.Drifted, "30", "14", "14", drift.Declaration, "dbops last applied 14, and 30 is declared", fix)
		row("deletion_protection", drift.Drifted, "true", "false", "true", drift.Console, "somebody changed it elsewhere, from true to false",
			fix+" --overwrite deletion_protection; or declare deletion_protection: false for prod/orders-main in dbops.yaml")
		row("class", drift.Pending, "db.r6g.4xlarge", "db.r6g.2xlarge", "db.r6g.2xlarge", drift.Declaration,
			"the provider has accepted db.r6g.4xlarge and will apply it in the maintenance window sun:03:00-sun:04:00", "wait, or apply it now: "+fix+" --overwrite class")
		row("tls.required", drift.Unknown, "true", "", "", drift.NotTold, "RDS does not tell rds.force_ssl of the parameter group", "allow rds:DescribeDBParameters")
	}
	row("storage.gib", drift.InSync, "1200", "1200", "1200", "", "", "")
	row("maintenance.window", drift.Unmanaged, "", "sun:03:00-sun:04:00", "", "", "", "declare maintenance.window: sun:03:00-sun:04:00 for "+env+"/"+instance+" in dbops.yaml to manage it")
}
