package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// newManCommand returns `pushpod man --dir DIR`, which packages are made with.
func (d deps) newManCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "man",
		Short: "Write the manual pages",
		Long: `Write the manual pages, one for each command, into a directory, which is made where it
is missing. Pages of the same names are replaced. The date in them is today's, or that
of SOURCE_DATE_EPOCH (Unix seconds).`,
		Args:   NoArgs,
		Hidden: true,
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory to write pushpod.1, pushpod-push.1 and so on into")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if dir == "" {
			return usagef("man: --dir is missing")
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("man: %w", err)
		}
		toMarkdown(cmd.Root()) // after which the program ends
		header := &doc.GenManHeader{Source: "pushpod " + d.version, Manual: "pushpod"}
		if err := doc.GenManTree(cmd.Root(), header, dir); err != nil {
			return fmt.Errorf("man: %w", err)
		}
		return nil
	}
	return cmd
}

// toMarkdown turns the help texts of a command and of those below it from plain text into
// Markdown, for which cobra/doc takes them.
func toMarkdown(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	cmd.DisableFlagsInUseLine = cmd.DisableFlagsInUseLine || strings.Contains(cmd.Use, "[flags]") // which is escaped, and not found again
	cmd.Use = strings.ReplaceAll(escapeMarkdown(cmd.Use), "\n  ", "**\n\n**")                     // within **
	cmd.Short = escapeMarkdown(cmd.Short)
	cmd.Long = markdown(cmd.Long)
	cmd.Flags().VisitAll(func(f *pflag.Flag) { f.Usage = escapeMarkdown(f.Usage) })
	for _, c := range cmd.Commands() {
		toMarkdown(c)
	}
}

// markdown turns lines that are laid out, with indents or in columns, into blocks of code,
// which stay as they are; other lines are text.
func markdown(text string) string {
	var b strings.Builder
	inBlock := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		isBlock := strings.HasPrefix(line, "\t") || strings.Contains(line, "  ")
		if isBlock != inBlock && line != "" {
			b.WriteString("\n") // between paragraphs
			inBlock = isBlock
		}
		switch {
		case isBlock:
			b.WriteString("    " + strings.TrimPrefix(line, "\t") + "\n")
		default:
			b.WriteString(escapeMarkdown(line) + "\n")
		}
	}
	return strings.TrimSpace(b.String())
}

func escapeMarkdown(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strings.ContainsRune("\\`*_[]<>&", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
