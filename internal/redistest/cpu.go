package redistest

import (
	"context"
	"regexp"
	"strconv"
	"time"
)

// CPU returns the processor time that the server has used (INFO cpu).
func (s *Server) CPU() (sum time.Duration) {
	s.t.Helper()
	c := s.Client()
	defer c.Close()
	text, err := c.Info(context.Background(), "cpu").Result()
	if err != nil {
		s.t.Fatalf("redistest: CPU time of the server: %v", err)
	}
	for _, m := range regexp.MustCompile(`(?m)^used_cpu_(?:user|sys):([0-9.]+)`).FindAllStringSubmatch(text, -1) {
		seconds, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			s.t.Fatalf("redistest: CPU time of the server: %v", err)
		}
		sum += time.Duration(seconds * float64(time.Second))
	}
	return sum
}
