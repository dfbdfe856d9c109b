//go:build !unix

package conn

func descriptorLimit() int { return 1 << 30 }
