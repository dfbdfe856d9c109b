//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// podMetrics reads a pod's admin listener. The zero value has none.
type podMetrics struct {
	admin string // such as http://127.0.0.1:9090
}

func (m podMetrics) known() bool { return m.admin != "" }

func (m podMetrics) get(ctx context.Context, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(m.admin, "/")+path, nil)
	if err != nil {
		return "", fmt.Errorf("bench: admin address: %w", err)
	}
	// Straight to the address given: no proxy, no connection that is kept.
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("bench: read the pod's %s: %w", path, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 4<<20))
	if err != nil {
		return "", fmt.Errorf("bench: read the pod's %s: %w", path, err)
	}
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("bench: the pod answered %s with %s: %.100q", path, answer.Status, body)
	}
	return string(body), nil
}

// writes returns how many write calls the pod has made, and how many messages
// it has written with them; 0 where its metrics are not known.
func (m podMetrics) writes(ctx context.Context) (writes, written float64, err error) {
	if !m.known() {
		return 0, 0, nil
	}
	text, err := m.get(ctx, "/metrics")
	if err != nil {
		return 0, 0, err
	}
	if writes, err = metric(text, "pushpod_writes_total"); err != nil {
		return 0, 0, err
	}
	written, err = metric(text, `pushpod_deliveries_total{result="written"}`)
	return writes, written, err
}

// renewed returns how many presence entries the pod has renewed; 0 where its metrics are
// not known.
func (m podMetrics) renewed(ctx context.Context) (float64, error) {
	if !m.known() {
		return 0, nil
	}
	text, err := m.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	return metric(text, `pushpod_presence_operations_total{operation="renew"}`)
}

// metric finds one value in Prometheus's text format.
func metric(text, name string) (float64, error) {
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)`).FindStringSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("bench: the pod's metrics lack %s", name)
	}
	return strconv.ParseFloat(found[1], 64)
}
