package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// secrets are what compose/secrets.sh prints.
func secrets(t *testing.T) map[string]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "compose/secrets.sh").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		all[name] = value
	}
	return all
}

// expand puts variables in, as Compose does: ${NAME:-default}, ${NAME:?message}.
func expand(t *testing.T, text string, vars map[string]string) string {
	t.Helper()
	return regexp.MustCompile(`\$\{(\w+)(?::([-?])([^}]*))?\}`).ReplaceAllStringFunc(text, func(s string) string {
		m := regexp.MustCompile(`\$\{(\w+)(?::([-?])([^}]*))?\}`).FindStringSubmatch(s)
		if vars[m[1]] == "" && m[2] == "?" {
			t.Errorf("compose/secrets.sh makes no %s", m[1])
		}
		return vars[m[1]]
	})
}

func TestComposePodsAreConfiguredRight(t *testing.T) {
	c, vars := yamls(t, "compose.yaml")[0], secrets(t)
	addresses := map[string]string{}
	for _, name := range []string{"pod1", "pod2", "pod3"} {
		pod := at(c, "services", name)
		var environ []string
		env, _ := at(pod, "environment").(map[string]any)
		for key, value := range env {
			environ = append(environ, key+"="+expand(t, fmt.Sprint(value), vars))
		}
		cfg := load(t, "", environ...)
		ip, _ := at(pod, "networks", "pushpod", "ipv4_address").(string)
		if cfg.Pod.Address != ip+":8080" || addresses[ip] != "" {
			t.Errorf("%s: pod.address %s, and it is at %s", name, cfg.Pod.Address, ip)
		}
		addresses[ip] = name
		if cfg.Auth.HMACSecret == "" || cfg.Admin.Token == "" || cfg.Redis.Password == "" || cfg.Redis.Username != "pod" || cfg.Redis.Addresses[0] != "redis:6379" {
			t.Errorf("%s: %+v", name, cfg)
		}
		nginx, _ := at(c, "services", "nginx", "networks", "pushpod", "ipv4_address").(string)
		if len(cfg.Auth.TrustedProxies) != 1 || cfg.Auth.TrustedProxies[0].String() != nginx+"/32" {
			t.Errorf("%s: trusted are %v, and nginx is %s", name, cfg.Auth.TrustedProxies, nginx)
		}
		grace, err := time.ParseDuration(fmt.Sprint(at(pod, "stop_grace_period")))
		if err != nil || grace < leaving(cfg) {
			t.Errorf("%s: it gets %v to leave, and may take %v", name, grace, leaving(cfg))
		}
		if at(pod, "read_only") != true || fmt.Sprint(at(pod, "cap_drop")) != "[ALL]" {
			t.Errorf("%s: it may do more than it needs: %v", name, pod)
		}
	}
	for name := range at(c, "services").(map[string]any) {
		for _, v := range texts(at(c, "services", name, "volumes")) {
			source, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(source, "./nginx/") {
				if _, err := os.Stat("nginx"); err != nil {
					continue
				}
				for ip := range addresses {
					if !strings.Contains(read(t, source), "server "+ip+":8080") {
						t.Errorf("%s does not know of the pod at %s", source, ip)
					}
				}
			}
			if at(c, "volumes", source) != nil {
				continue // Docker's own
			}
			if _, err := os.Stat(source); err != nil || !strings.HasSuffix(v, ":ro") {
				t.Errorf("%s: volume %s: %v", name, v, err)
			}
		}
		if dockerfile, _ := at(c, "services", name, "build", "dockerfile").(string); dockerfile != "" {
			if _, err := os.Stat(filepath.Join("..", dockerfile)); err != nil {
				t.Error(err)
			}
		}
	}
	if ports := texts(at(c, "services", "nginx", "ports")); fmt.Sprint(ports) != "[8080:80]" {
		t.Errorf("nginx is at %v", ports)
	}
}

func TestComposeRedisLetsInWhoHasAPassword(t *testing.T) {
	port := freePort(t)
	server := os.Getenv("REDIS_SERVER")
	if server == "" {
		server = "redis-server"
	}
	path, err := exec.LookPath(server)
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	bin := t.TempDir()
	if err := os.Symlink(path, filepath.Join(bin, "redis-server")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "compose/redis.sh", "--port", port, "--bind", "127.0.0.1")
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TMPDIR="+t.TempDir(), "ACL_FILE=../configs/redis-acl.conf",
		"POD_PASSWORD=of pods &\\/", "OPERATOR_PASSWORD=of operators", "PRODUCER_PASSWORD=")
	start(t, cmd)
	try := func(user, password string) error {
		c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port, Username: user, Password: password, Protocol: 2, MaxRetries: -1})
		defer c.Close()
		return c.Ping(t.Context()).Err()
	}
	eventually(t, "pods get in", func() bool { return try("pod", "of pods &\\/") == nil })
	if err := try("operator", "of operators"); err != nil {
		t.Errorf("operators: %v", err)
	}
	for user, password := range map[string]string{"producer": "", "backend": "x", "pod": "of operators", "default": ""} {
		if try(user, password) == nil {
			t.Errorf("%s gets in with %q", user, password)
		}
	}
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port, Username: "operator", Password: "of operators", Protocol: 2})
	defer c.Close()
	info, err := c.Info(t.Context(), "memory").Result()
	if err != nil || !strings.Contains(info, "maxmemory_policy:noeviction") {
		t.Errorf("it may evict presence: %v\n%s", err, info)
	}
}
