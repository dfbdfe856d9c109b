package deploy

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// objects are those of deploy/kubernetes, by kind and name.
func objects(t *testing.T) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for _, file := range texts(yamls(t, "kubernetes/kustomization.yaml")[0]["resources"]) {
		for _, o := range yamls(t, filepath.Join("kubernetes", file)) {
			all[fmt.Sprint(o["kind"], " ", at(o, "metadata", "name"))] = o
		}
	}
	return all
}

// container is that of the pods.
func container(t *testing.T) (spec, container any) {
	t.Helper()
	spec = at(objects(t)["Deployment pushpod"], "spec", "template", "spec")
	return spec, at(spec, "containers", 0)
}

// environment is what the container gets, with a stand-in for each secret.
func environment(t *testing.T) (environ []string) {
	t.Helper()
	_, c := container(t)
	list, _ := at(c, "env").([]any)
	for _, e := range list {
		name := fmt.Sprint(at(e, "name"))
		switch {
		case at(e, "valueFrom", "fieldRef", "fieldPath") == "status.podIP":
			environ = append(environ, name+"=10.1.2.3")
		case at(e, "valueFrom", "secretKeyRef", "name") == "pushpod":
			environ = append(environ, name+"="+strings.Repeat("s", 32))
		default:
			t.Errorf("%s comes from nowhere", name)
		}
	}
	return environ
}

// wantAll holds what stands at paths, written with dots, against what has to.
func wantAll(t *testing.T, what string, value any, want map[string]any) {
	t.Helper()
	for path, w := range want {
		var steps []any
		for step := range strings.SplitSeq(path, ".") {
			if step == "0" {
				steps = append(steps, 0)
			} else {
				steps = append(steps, step)
			}
		}
		if got := at(value, steps...); fmt.Sprint(got) != fmt.Sprint(w) {
			t.Errorf("%s: %s is %v, want %v", what, path, got, w)
		}
	}
}

func TestKubernetesPodsAreConfiguredRight(t *testing.T) {
	spec, c := container(t)
	cfg := load(t, "kubernetes/pushpod.yaml", environment(t)...)
	if cfg.Pod.Address != "10.1.2.3:8080" || cfg.Admin.Token == "" || cfg.Redis.Password == "" || cfg.Auth.HMACSecret == "" {
		t.Errorf("%+v", cfg)
	}
	if args := strings.Join(texts(at(c, "args")), " "); args != "--config /etc/pushpod/pushpod.yaml" {
		t.Errorf("args %s", args)
	}
	grace, _ := at(spec, "terminationGracePeriodSeconds").(int)
	if d := time.Duration(grace) * time.Second; d < leaving(cfg) {
		t.Errorf("it gets %v to leave, and may take %v", d, leaving(cfg))
	}
	// While the pod still takes connections, whoever sends them has to learn that it leaves.
	period, _ := at(c, "readinessProbe", "periodSeconds").(int)
	failures, _ := at(c, "readinessProbe", "failureThreshold").(int)
	if d := time.Duration(period*failures) * time.Second; d == 0 || d >= cfg.Shutdown.Delay {
		t.Errorf("readiness notices within %v, and shutdown.delay is %v", d, cfg.Shutdown.Delay)
	}
	for _, p := range []struct{ name, port string }{{"ws", cfg.Listen}, {"admin", cfg.Admin.Listen}} {
		found := false
		list, _ := at(c, "ports").([]any)
		for _, port := range list {
			found = found || at(port, "name") == p.name && ":"+fmt.Sprint(at(port, "containerPort")) == p.port
		}
		if !found {
			t.Errorf("no port %s at %s", p.name, p.port)
		}
	}
	wantAll(t, "container", c, map[string]any{
		"readinessProbe.httpGet.path":              "/readyz",
		"readinessProbe.httpGet.port":              "admin",
		"livenessProbe.httpGet.path":               "/healthz", // never readyz: a restart brings no Redis back
		"livenessProbe.httpGet.port":               "admin",
		"lifecycle":                                nil,
		"securityContext.readOnlyRootFilesystem":   true,
		"securityContext.allowPrivilegeEscalation": false,
		"securityContext.capabilities.drop":        []any{"ALL"},
		"volumeMounts.0.mountPath":                 "/etc/pushpod",
		"volumeMounts.0.subPath":                   nil, // which would never change
		"volumeMounts.0.name":                      "config",
		"resources.limits.cpu":                     nil,
	})
	wantAll(t, "pod", spec, map[string]any{
		"securityContext.runAsNonRoot":        true,
		"securityContext.runAsUser":           65532,
		"securityContext.seccompProfile.type": "RuntimeDefault",
		"automountServiceAccountToken":        false,
		"enableServiceLinks":                  false,
		"volumes.0.name":                      "config",
		"volumes.0.configMap.name":            "pushpod",
	})
	spread, _ := at(spec, "topologySpreadConstraints").([]any)
	if len(spread) != 2 {
		t.Errorf("spread over %d", len(spread))
	}
}

// All that selects pods selects these, and ports are named as the container names them.
func TestKubernetesObjectsFitTogether(t *testing.T) {
	all := objects(t)
	labels := at(all["Deployment pushpod"], "spec", "template", "metadata", "labels")
	if labels == nil {
		t.Fatal("the pods have no labels")
	}
	spec, _ := container(t)
	for what, selector := range map[string]any{
		"Deployment":          at(all["Deployment pushpod"], "spec", "selector", "matchLabels"),
		"Service":             at(all["Service pushpod"], "spec", "selector"),
		"Service of admin":    at(all["Service pushpod-admin"], "spec", "selector"),
		"PodDisruptionBudget": at(all["PodDisruptionBudget pushpod"], "spec", "selector", "matchLabels"),
		"NetworkPolicy":       at(all["NetworkPolicy pushpod"], "spec", "podSelector", "matchLabels"),
		"spread over nodes":   at(spec, "topologySpreadConstraints", 0, "labelSelector", "matchLabels"),
		"spread over zones":   at(spec, "topologySpreadConstraints", 1, "labelSelector", "matchLabels"),
	} {
		if fmt.Sprint(selector) != fmt.Sprint(labels) {
			t.Errorf("%s selects %v, and the pods are %v", what, selector, labels)
		}
	}
	wantAll(t, "Deployment", all["Deployment pushpod"], map[string]any{
		"apiVersion":                                 "apps/v1",
		"spec.replicas":                              nil, // the autoscaler's
		"spec.strategy.rollingUpdate.maxSurge":       1,
		"spec.strategy.rollingUpdate.maxUnavailable": 0,
	})
	wantAll(t, "Service", all["Service pushpod"], map[string]any{"spec.ports.0.targetPort": "ws", "spec.sessionAffinity": nil})
	wantAll(t, "Service of admin", all["Service pushpod-admin"], map[string]any{"spec.ports.0.targetPort": "admin", "spec.clusterIP": "None"})
	wantAll(t, "PodDisruptionBudget", all["PodDisruptionBudget pushpod"], map[string]any{"apiVersion": "policy/v1", "spec.maxUnavailable": 1})
	wantAll(t, "HorizontalPodAutoscaler", all["HorizontalPodAutoscaler pushpod"], map[string]any{
		"apiVersion":                      "autoscaling/v2",
		"spec.scaleTargetRef.kind":        "Deployment",
		"spec.scaleTargetRef.name":        "pushpod",
		"spec.minReplicas":                3,
		"spec.metrics.0.type":             "Pods",
		"spec.metrics.0.pods.metric.name": "pushpod_connections",
	})
	wantAll(t, "NetworkPolicy", all["NetworkPolicy pushpod"], map[string]any{
		"spec.policyTypes":            []any{"Ingress", "Egress"},
		"spec.ingress.0.ports.0.port": "ws",
	})
	// The metric is one that pods have.
	if !strings.Contains(read(t, "../admin/metrics.go"), `"pushpod_connections"`) {
		t.Error("there is no metric pushpod_connections")
	}
	k := yamls(t, "kubernetes/kustomization.yaml")[0]
	wantAll(t, "kustomization", k, map[string]any{
		"configMapGenerator.0.name": "pushpod", "configMapGenerator.0.files": []any{"pushpod.yaml"},
		"generatorOptions.disableNameSuffixHash": true, // else each change of the configuration is a roll
	})
}

// Where kubectl is there, it makes of it what would be applied.
func TestKustomizeTakesTheFiles(t *testing.T) {
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("kubectl is not installed")
	}
	if err := exec.CommandContext(t.Context(), kubectl, "kustomize", "--help").Run(); err != nil {
		t.Skip("this kubectl has no kustomize")
	}
	out, err := exec.CommandContext(t.Context(), kubectl, "kustomize", "kubernetes").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	kinds := map[string]bool{}
	d := yaml.NewDecoder(strings.NewReader(string(out)))
	for {
		var o map[string]any
		if d.Decode(&o) != nil {
			break
		}
		kinds[fmt.Sprint(o["kind"])] = true
		if at(o, "metadata", "namespace") != "pushpod" {
			t.Errorf("%v is in no namespace of ours", at(o, "metadata"))
		}
		if o["kind"] == "ConfigMap" && (at(o, "metadata", "name") != "pushpod" || at(o, "data", "pushpod.yaml") == nil) {
			t.Errorf("%v", o)
		}
	}
	for _, kind := range []string{"ConfigMap", "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "HorizontalPodAutoscaler"} {
		if !kinds[kind] {
			t.Errorf("there is no %s", kind)
		}
	}
}
