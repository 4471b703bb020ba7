package files

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCleanName(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"plain", "holiday photo.jpg", "holiday photo.jpg"},
		{"other scripts", "写真 één.png", "写真 één.png"},
		{"parent directories", "../../etc/passwd", "passwd"},
		{"backslashes", `..\..\boot.ini`, "boot.ini"},
		{"only dots", "../..", "file"},
		{"empty", "", "file"},
		{"NUL", "a\x00b.txt", "ab.txt"},
		{"line breaks", "a\r\nSet-Cookie: x.txt", "aSet-Cookie_ x.txt"},
		{"right to left override", "photo\u202Egpj.exe", "photogpj.exe"},
		{"isolates and zero width", "a\u2066b\u200Bc\uFEFF.txt", "abc.txt"},
		{"HTML", `<img src=x onerror="alert(1)">.png`, "_img src=x onerror=_alert(1)__.png"},
		{"not UTF-8", "a\xff\xfe.txt", "a_.txt"},
		{"leading and trailing dots and spaces", " .bashrc. ", "bashrc"},
		{"Windows device", "con.txt", "_con.txt"},
		{"Windows device with space", "LPT1 .pdf", "_LPT1 .pdf"},
		{"alternate stream", "a.txt:evil.exe", "a.txt_evil.exe"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := CleanName(c.raw); got != c.want {
				t.Errorf("CleanName(%q) = %q, want %q", c.raw, got, c.want)
			}
		})
	}
}

func TestCleanNameIsShort(t *testing.T) {
	for _, raw := range []string{strings.Repeat("a", 300) + ".jpeg", strings.Repeat("写", 300) + ".jpeg"} {
		got := CleanName(raw)
		if len(got) > maxName || len(got) < maxName-4 || !strings.HasSuffix(got, ".jpeg") || !utf8.ValidString(got) {
			t.Errorf("CleanName of %d bytes: %d bytes, %q", len(raw), len(got), got)
		}
	}
}

func FuzzCleanName(f *testing.F) {
	f.Add("../x\u202E\x00.jpg")
	f.Add("con")
	f.Fuzz(func(t *testing.T, raw string) {
		got := CleanName(raw)
		if got == "" || got == "." || got == ".." || len(got) > maxName+1 || !utf8.ValidString(got) || strings.ContainsAny(got, "/\\\x00<>\r\n") {
			t.Errorf("CleanName(%q) = %q", raw, got)
		}
		if again := CleanName(got); again != got {
			t.Errorf("CleanName(%q) = %q, and of that %q", raw, got, again)
		}
	})
}
