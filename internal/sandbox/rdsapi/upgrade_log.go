package rdsapi

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/sandbox/awsid"
)

// logFile is one of the files that RDS shows of an instance. Those of the server itself are not among them.
type logFile struct {
	Name string    `json:"name"`
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

// logOperations are those on log files.
func (a *API) logOperations() []operation {
	return []operation{
		op(a.describeDBLogFiles, func(in *rds.DescribeDBLogFilesInput) about { return anInstance(in.DBInstanceIdentifier) },
			"DBInstanceIdentifier", "FilenameContains", "FileLastWritten", "Marker", "MaxRecords"),
		op(a.downloadDBLogFilePortion, func(in *rds.DownloadDBLogFilePortionInput) about { return anInstance(in.DBInstanceIdentifier) },
			"DBInstanceIdentifier", "LogFileName", "Marker", "NumberOfLines"),
	}
}

// logged writes a new log file of an instance, and returns its name. The caller holds the lock.
func (a *API) logged(in *instance, name, text string) string {
	now := a.now().UTC()
	name = fmt.Sprintf("error/%s.%d", name, now.UnixMilli())
	in.Logs = append(in.Logs, logFile{Name: name, Text: text, At: now})
	const most = 20
	in.Logs = in.Logs[max(0, len(in.Logs)-most):]
	return name
}

func (a *API) describeDBLogFiles(_ context.Context, in *rds.DescribeDBLogFilesInput) (*rds.DescribeDBLogFilesOutput, error) {
	a.mu.Lock()
	db, err := a.find(in.DBInstanceIdentifier)
	if err != nil {
		a.mu.Unlock()
		return nil, err
	}
	var all []types.DescribeDBLogFilesDetails
	for _, f := range db.Logs {
		if strings.Contains(f.Name, value(in.FilenameContains)) && f.At.UnixMilli() >= value(in.FileLastWritten) {
			all = append(all, types.DescribeDBLogFilesDetails{LogFileName: &f.Name, LastWritten: new(f.At.UnixMilli()), Size: new(int64(len(f.Text)))})
		}
	}
	a.mu.Unlock()
	out, marker, err := page(all, func(f types.DescribeDBLogFilesDetails) string { return *f.LogFileName }, in.Marker, in.MaxRecords)
	if err != nil {
		return nil, err
	}
	return &rds.DescribeDBLogFilesOutput{DescribeDBLogFiles: out, Marker: marker}, nil
}

// downloadDBLogFilePortion gives the whole file: none is long.
func (a *API) downloadDBLogFilePortion(_ context.Context, in *rds.DownloadDBLogFilePortionInput) (*rds.DownloadDBLogFilePortionOutput, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	db, err := a.find(in.DBInstanceIdentifier)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(db.Logs, func(f logFile) bool { return f.Name == value(in.LogFileName) })
	if i < 0 {
		return nil, awsid.Newf(404, "DBLogFileNotFoundFault", "DBLog File: %s, is not found on the DB instance", value(in.LogFileName))
	}
	return &rds.DownloadDBLogFilePortionOutput{LogFileData: new(db.Logs[i].Text), AdditionalDataPending: new(false), Marker: new("0")}, nil
}
