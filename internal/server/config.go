package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/structs"
	"github.com/knadh/koanf/v2"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/atlas"
	"github.com/tandem-call/tandem/internal/edge/push/apns"
	"github.com/tandem-call/tandem/internal/edge/push/fcm"
	"github.com/tandem-call/tandem/internal/edge/push/sms"
	"github.com/tandem-call/tandem/internal/edge/transport/tlscert"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// ErrConfig: the configuration cannot be used as it is.
var ErrConfig = errors.New("server: unusable configuration")

// Config is everything that can be set. tandem.example.yaml is its manual; each key is
// also an environment variable, TANDEM_TLS_MODE for tls.mode.
type Config struct {
	// Data is the directory of everything that lasts.
	Data string `koanf:"data"`
	// Listen is the address of the HTTP listener, host:port.
	Listen string `koanf:"listen"`
	// PublicURL is the address that devices use, when it is not the listener's.
	PublicURL string `koanf:"public_url"`
	// Origins are further web origins ("https://app.example") whose pages may connect.
	Origins []string `koanf:"origins"`
	// TrustedProxies are the networks whose X-Forwarded-For is believed.
	TrustedProxies []string `koanf:"trusted_proxies"`

	TLS    TLS    `koanf:"tls"`
	Engine Engine `koanf:"engine"`
	Codes  Codes  `koanf:"codes"`
	Mail   Mail   `koanf:"mail"`
	// Couplings of telephones and the devices that carry data for them.
	Couplings Couplings `koanf:"couplings"`
	Calls     Calls     `koanf:"calls"`
	Evidence  Evidence  `koanf:"evidence"`
	Sessions  Sessions  `koanf:"sessions"`
	Files     Files     `koanf:"files"`
	SIP       SIP       `koanf:"sip"`
	Webhooks  Webhooks  `koanf:"webhooks"`
	Push      Push      `koanf:"push"`
	Texts     Texts     `koanf:"texts"`
	Profiles  Profiles  `koanf:"profiles"`
	Maps      Maps      `koanf:"maps"`
	Overlays  Overlays  `koanf:"overlays"`
	Payments  Payments  `koanf:"payments"`
	Limits    Limits    `koanf:"limits"`
	Agents    Agents    `koanf:"agents"`
	// Retention of what has no part above.
	Retention Retention `koanf:"retention"`
	Log       Log       `koanf:"log"`
}

// TLS of the listener.
type TLS struct {
	Mode      tlscert.Mode `koanf:"mode"`
	Cert      string       `koanf:"cert"`
	Key       string       `koanf:"key"`
	Names     []string     `koanf:"names"`
	Email     string       `koanf:"email"`
	Directory string       `koanf:"directory"`
	Roots     string       `koanf:"roots"`
	// ClientCertificates asks clients for one, for API keys that are bound to one.
	ClientCertificates bool `koanf:"client_certificates"`
}

// Engine keeps the data.
type Engine struct {
	// NATS is the URL of a JetStream cluster; empty: Pebble in this process.
	NATS     string `koanf:"nats"`
	Replicas int    `koanf:"replicas"`
	// Credentials is the path of a NATS credentials file; empty: none.
	Credentials string `koanf:"credentials"`
	// Prefix of the names of all streams, buckets and subjects.
	Prefix string `koanf:"prefix"`
	// Durability is "fsync" or, for trials that may lose data, "relaxed".
	Durability string `koanf:"durability"`
	// HeadroomMiB of free disk below which writes are refused.
	HeadroomMiB int `koanf:"headroom_mib"`
}

// Codes are the one-time codes that prove a number.
type Codes struct {
	// Sender is "dev" (printed here; on loopback only), "kannel" or "webhook".
	Sender string `koanf:"sender"`
	// URL of the gateway.
	URL      string `koanf:"url"`
	Username string `koanf:"username"`
	Password string `koanf:"password"`
	// Body of the webhook, a template; see sms.WebhookConfig. Empty: sms.DefaultBody.
	Body string `koanf:"body"`
	// Token is a bearer token for the webhook, or a whole Authorization header if there is a space
	// in it. Without one, Username and Password are used if they are set.
	Token string `koanf:"token"`
	// From is the sender that the text message shows.
	From string `koanf:"from"`
	// Region (ISO 3166-1) in which national numbers are read; empty: international only.
	Region string `koanf:"region"`
	// BindingDays is how long a proof of a number holds.
	BindingDays int `koanf:"binding_days"`
}

// Mail is how e-mail is sent: the codes that prove an address.
type Mail struct {
	// URL of the submission server, smtps:// or smtp://. Empty: no e-mail is sent, or, where one-time
	// codes are printed, those for addresses are, too.
	URL      string `koanf:"url"`
	Username string `koanf:"username"`
	Password string `koanf:"password"`
	// From is the address that messages come from.
	From string `koanf:"from"`
	// Roots is a PEM file with what the server's certificate must lead to; empty: this machine's.
	Roots string `koanf:"roots"`
}

// Couplings tie telephones to the devices that carry data for them.
type Couplings struct {
	// CodeTTL is how long a code is valid.
	CodeTTL time.Duration `koanf:"code_ttl"`
	// Lease of a temporary coupling: it lapses when the two are apart for so long.
	Lease time.Duration `koanf:"lease"`
	// PerNumber is the most devices that are coupled with one number.
	PerNumber int `koanf:"per_number"`
	// ServiceNumber is the number that a telephone calls to key a code, answered by the SIP element;
	// empty: none.
	ServiceNumber string `koanf:"service_number"`
}

// Calls says how reports are matched.
type Calls struct {
	PartialDetails call.PartialPolicy `koanf:"partial_details"`
	// InviteDelay is how long one side is up alone before the other is invited. Zero: 2 s; negative: never.
	InviteDelay time.Duration `koanf:"invite_delay"`
	// InvitesPerHour from one party to another, at least 1.
	InvitesPerHour int `koanf:"invites_per_hour"`
	// Lease is how long a report stands without repetition.
	Lease time.Duration `koanf:"lease"`
	// ClockSkew between two reporters that is tolerated.
	ClockSkew time.Duration `koanf:"clock_skew"`
	// AnswerEvery is the step at which reports that open nothing are answered, so that the
	// time of an answer tells nothing. Zero: at once.
	AnswerEvery time.Duration `koanf:"answer_every"`
	// Retention of call details after the session has closed.
	Retention time.Duration `koanf:"retention"`
	// Rescan is how often a node looks for what a node that died has left undone.
	Rescan time.Duration `koanf:"rescan"`
}

// Evidence says what it takes to believe that a call is real, and a number its device's.
type Evidence struct {
	// STIRRoots is a PEM file with the roots of PASSporTs' certificates; empty: PASSporTs
	// are not looked at.
	STIRRoots string `koanf:"stir_roots"`
	// Freshness is how far a PASSporT's time may be from now.
	Freshness time.Duration `koanf:"freshness"`
	// Networks that are not public and from which certificates may be fetched all the same.
	Networks []string `koanf:"networks"`
	Minimum  Minimum  `koanf:"minimum"`
	// Features ask for more than Minimum, each for its own.
	Features Features `koanf:"features"`
}

// Minimum is the least evidence by feature.
type Minimum struct {
	// Binding of number and device that a call needs.
	Binding device.ProofKind `koanf:"binding"`
	// Session: what a side needs for a session to open; Invitation: what one needs for the
	// other to be invited.
	Session    call.Evidence `koanf:"session"`
	Invitation call.Evidence `koanf:"invitation"`
}

// Sessions says how long they live.
type Sessions struct {
	Linger    time.Duration `koanf:"linger"`
	LingerMax time.Duration `koanf:"linger_max"`
	// Retention of the messages and files of a closed session.
	Retention time.Duration `koanf:"retention"`
}

// Files says what may be left on the disk.
type Files struct {
	MaxMiB        int64         `koanf:"max_mib"`
	SessionMiB    int64         `koanf:"session_mib"`
	UnfinishedFor time.Duration `koanf:"unfinished_for"`
	// S3 keeps the files of a cluster.
	S3 S3 `koanf:"s3"`
}

// S3 is a bucket of an S3-compatible object store; without Endpoint files are in the data
// directory.
type S3 struct {
	Endpoint  string `koanf:"endpoint"`
	Bucket    string `koanf:"bucket"`
	Region    string `koanf:"region"`
	Prefix    string `koanf:"prefix"`
	AccessKey string `koanf:"access_key"`
	SecretKey string `koanf:"secret_key"`
}

// Webhooks says how events are sent to the endpoints that operators name.
type Webhooks struct {
	// Networks that are not public, and may be reached all the same.
	Networks []string `koanf:"networks"`
	// HTTP allows addresses without TLS.
	HTTP bool `koanf:"http"`
	// Timeout of one attempt.
	Timeout time.Duration `koanf:"timeout"`
	// Retention of the log of deliveries.
	Retention time.Duration `koanf:"retention"`
	// GiveUp is how long an endpoint may fail before it is disabled.
	GiveUp time.Duration `koanf:"give_up"`
}

// Overlays says how providers' own servers are asked for overlays, and for the pictures in them.
type Overlays struct {
	// Networks that are not public, and may be reached all the same.
	Networks []string `koanf:"networks"`
	// HTTP allows addresses of providers' servers without TLS; pictures never.
	HTTP bool `koanf:"http"`
	// Timeout of one request.
	Timeout time.Duration `koanf:"timeout"`
}

// Profiles says what the server reads of profiles that live elsewhere.
type Profiles struct {
	// Networks that are not public, and in which profiles may be read all the same.
	Networks []string `koanf:"networks"`
}

// Maps says what maps are made of, and who is who about places.
type Maps struct {
	// Link is the address of a mapping service, with {lat} and {lon}; empty: no links are sent.
	Link string `koanf:"link"`
	// Tiles is the address of raster tiles, with {z}, {x} and {y}; File a PMTiles archive. Empty:
	// the outline of the world.
	Tiles string `koanf:"tiles"`
	File  string `koanf:"file"`
	// Attribution of these, on each map.
	Attribution string `koanf:"attribution"`
	// Networks that are not public, and may be reached for tiles all the same.
	Networks []string `koanf:"networks"`
	// Emergency and Providers are identities of emergency services and of companies, for the
	// rules of parties.
	Emergency []string `koanf:"emergency"`
	Providers []string `koanf:"providers"`
}

// origins that pages fetch tiles from.
func (m Maps) origins() []string {
	if m.Tiles == "" {
		return nil
	}
	o, err := atlas.Origin(m.Tiles)
	if err != nil {
		return nil // refused by Validate
	}
	return []string{o}
}

// page tells the page.
func (m Maps) page() *wire.PageMaps {
	p := wire.PageMaps{Tiles: m.Tiles, Attribution: m.Attribution, Link: m.Link}
	if m.Tiles == "" && m.File != "" {
		p.File = atlas.TilesPath
	}
	if p == (wire.PageMaps{}) {
		return nil
	}
	return &p
}

func (p Profiles) validate(fault func(ok bool, format string, args ...any)) {
	for _, n := range p.Networks {
		_, err := netip.ParsePrefix(n)
		fault(err == nil, "profiles.networks: %q is not a network such as 10.0.0.0/8", n)
	}
}

func (m Maps) validate(fault func(ok bool, format string, args ...any)) {
	if m.Tiles != "" {
		_, err := atlas.Origin(m.Tiles)
		fault(err == nil, "maps.tiles: %q: %v", m.Tiles, err)
	}
	fault(m.Tiles == "" && m.File == "" || m.Attribution != "", "maps.attribution: say whose map it is; its licence asks for that")
	for _, n := range m.Networks {
		_, err := netip.ParsePrefix(n)
		fault(err == nil, "maps.networks: %q is not a network such as 10.0.0.0/8", n)
	}
	for _, id := range append(slices.Clone(m.Emergency), m.Providers...) {
		_, err := tel.ParseIdentity(id, "")
		fault(err == nil, "maps.emergency, maps.providers: %q is no number such as +442079460001, nor another identity", id)
	}
}

// Texts says how parties without a client are invited: by text message, through the gateway
// of Codes.
type Texts struct {
	Enabled bool `koanf:"enabled"`
	// Text with {from} and {link}; Countries have their own.
	Text      string        `koanf:"text"`
	Countries []sms.Country `koanf:"countries"`
	// After is how long each way of reaching a party has before the next one's turn.
	After time.Duration `koanf:"after"`
	// Messages in 24 hours: to one number, to it on behalf of one claimant, on behalf of one.
	PerNumber   int `koanf:"per_number"`
	PerPair     int `koanf:"per_pair"`
	PerClaimant int `koanf:"per_claimant"`
	// Token with which the gateway reports deliveries and what people answer.
	Token string `koanf:"token"`
}

func (t Texts) validate(fault func(ok bool, format string, args ...any)) {
	fault(t.After >= time.Second, "texts.after: at least 1s")
	fault(t.PerNumber > 0 && t.PerPair > 0 && t.PerClaimant > 0, "texts.per_number, per_pair, per_claimant: at least 1")
	fault(t.Token == "" || len(t.Token) >= 16, "texts.token: at least 16 characters")
	for _, c := range t.Countries {
		fault(strings.HasPrefix(c.Prefix, "+"), "texts.countries: prefix %q does not begin with +", c.Prefix)
	}
}

// Push says how devices are woken.
type Push struct {
	// Timeout of one attempt.
	Timeout time.Duration `koanf:"timeout"`
	Web     WebPush       `koanf:"web"`
	APNs    APNs          `koanf:"apns"`
	FCM     FCM           `koanf:"fcm"`
}

// APNs is Apple's push service; it is used where Key is set.
type APNs struct {
	// Key is a file with the provider's key, as Apple gives it (.p8).
	Key    string `koanf:"key"`
	KeyID  string `koanf:"key_id"`
	TeamID string `koanf:"team_id"`
	// Topic is the app's bundle id.
	Topic string `koanf:"topic"`
	// URL of the service; Text of the alert.
	URL  string `koanf:"url"`
	Text string `koanf:"text"`
}

// FCM is Google's push service; it is used where Account is set.
type FCM struct {
	// Account is a file with the service account's key, JSON as Google gives it.
	Account string `koanf:"account"`
	URL     string `koanf:"url"`
}

// WebPush is RFC 8030's.
type WebPush struct {
	// Subject is how a push service reaches the operator, "mailto:…" or "https://…".
	Subject string `koanf:"subject"`
	// Networks that are not public, and may be reached all the same.
	Networks []string `koanf:"networks"`
	// HTTP allows addresses without TLS.
	HTTP bool `koanf:"http"`
}

func (p Push) validate(fault func(ok bool, format string, args ...any)) {
	fault(p.Timeout >= time.Second && p.Timeout <= time.Minute, "push.timeout: from 1s to 1m")
	fault(p.Web.Subject == "" || strings.HasPrefix(p.Web.Subject, "mailto:") || strings.HasPrefix(p.Web.Subject, "https://"),
		"push.web.subject: %q; begin with mailto: or https://", p.Web.Subject)
	for _, n := range p.Web.Networks {
		_, err := netip.ParsePrefix(n)
		fault(err == nil, "push.web.networks: %q is not a network such as 10.0.0.0/8", n)
	}
}

// Limits on what one device may do; the rest of wire.Limits follows from other keys.
type Limits struct {
	FrameKiB          int     `koanf:"frame_kib"`
	MessagesPerSecond float64 `koanf:"messages_per_second"`
	MessageBurst      int     `koanf:"message_burst"`
	Members           int     `koanf:"members"`
	LogEntries        uint64  `koanf:"log_entries"`
	// DeviceConnections of one device at a time, at least 1.
	DeviceConnections int `koanf:"device_connections"`
	// PendingPerAddress is the most connections of one address that have not yet
	// authenticated, at least 1.
	PendingPerAddress int           `koanf:"pending_per_address"`
	Heartbeat         time.Duration `koanf:"heartbeat"`

	// Requests over HTTP per minute: of one address without valid credentials, of one
	// device, of one API key, and of a whole tenant. Zero: no limit.
	AddressPerMinute int `koanf:"address_per_minute"`
	DevicePerMinute  int `koanf:"device_per_minute"`
	KeyPerMinute     int `koanf:"key_per_minute"`
	TenantPerMinute  int `koanf:"tenant_per_minute"`
	// Call reports per minute: of one device, of one element or provider, and about one
	// pair of parties. Zero: no limit.
	DeviceReportsPerMinute  int `koanf:"device_reports_per_minute"`
	ElementReportsPerMinute int `koanf:"element_reports_per_minute"`
	PairReportsPerMinute    int `koanf:"pair_reports_per_minute"`
	// CountedCallers that each of these limits remembers at most.
	CountedCallers int `koanf:"counted_callers"`
}

// Retention says how long what belongs to no call is kept; docs/privacy.md has all of it.
type Retention struct {
	// Audit entries, and pseudonyms that none of them uses; zero: for ever.
	Audit time.Duration `koanf:"audit"`
	// Lapsed proofs of numbers: devices and identities that nobody has proved again. And
	// API keys that were revoked or have expired.
	Lapsed time.Duration `koanf:"lapsed"`
}

// Log is what the server says of itself, on standard error.
type Log struct {
	Level  string `koanf:"level"`
	Format string `koanf:"format"`
}

// Defaults returns the configuration that holds where nothing is set.
func Defaults() Config {
	l := wire.DefaultLimits
	return Config{
		Data:      "data",
		Listen:    "127.0.0.1:8080",
		TLS:       TLS{Mode: tlscert.Off},
		Engine:    Engine{Durability: "fsync", HeadroomMiB: 256, Replicas: 3, Prefix: "tandem"},
		Codes:     Codes{Sender: "dev", BindingDays: 180},
		Couplings: Couplings{CodeTTL: 5 * time.Minute, Lease: 2 * time.Minute, PerNumber: 16},
		Calls: Calls{
			PartialDetails: call.PartialConfirm, InviteDelay: 2 * time.Second, InvitesPerHour: 3,
			Lease: time.Duration(l.ReportTTLSeconds) * time.Second, ClockSkew: 30 * time.Second, AnswerEvery: 10 * time.Millisecond, Retention: 10 * time.Minute, Rescan: time.Minute,
		},
		Evidence: Evidence{Freshness: time.Minute, Minimum: Minimum{Binding: device.ProofCode, Session: call.Typed, Invitation: call.Typed}},
		Sessions: Sessions{
			Linger: time.Duration(l.LingerSeconds) * time.Second, LingerMax: time.Duration(l.LingerMaxSeconds) * time.Second,
			Retention: 24 * time.Hour,
		},
		Files:    Files{MaxMiB: l.FileBytes >> 20, SessionMiB: 2048, UnfinishedFor: 24 * time.Hour},
		SIP:      SIP{Mode: SIPAuto, Listen: "127.0.0.1:5060", ConnectionsPerAddress: 64, PasswordFor: time.Hour},
		Webhooks: Webhooks{Timeout: 15 * time.Second, Retention: 7 * 24 * time.Hour, GiveUp: 5 * 24 * time.Hour},
		Overlays: Overlays{Timeout: 3 * time.Second},
		Payments: Payments{Timeout: 10 * time.Second, Retention: 30 * 24 * time.Hour},
		Texts:    Texts{Text: sms.DefaultText, After: 15 * time.Second, PerNumber: 5, PerPair: 2, PerClaimant: 20},
		Push:     Push{Timeout: 10 * time.Second, APNs: APNs{URL: apns.Production, Text: apns.DefaultText}, FCM: FCM{URL: fcm.Production}},
		Limits: Limits{
			FrameKiB: l.FrameBytes >> 10, MessagesPerSecond: l.MessagesPerSecond, MessageBurst: l.MessageBurst,
			Members: l.Members, LogEntries: l.LogEntries, DeviceConnections: 8, PendingPerAddress: 64, Heartbeat: 25 * time.Second,
			AddressPerMinute: 6000, DevicePerMinute: 15_000, KeyPerMinute: 120_000,
			DeviceReportsPerMinute: 600, ElementReportsPerMinute: 60_000, PairReportsPerMinute: 600, CountedCallers: 100_000,
		},
		Agents:    Agents{SignIn: 12 * time.Hour},
		Retention: Retention{Audit: 365 * 24 * time.Hour, Lapsed: 30 * 24 * time.Hour},
		Log:       Log{Level: "info", Format: "text"},
	}
}

// Load reads the configuration: defaults, then the file (path may be empty), then
// environment variables. Unknown keys are refused, in the file and in the environment.
func Load(path string, environ []string) (Config, error) {
	k := koanf.New(".")
	if err := k.Load(structs.Provider(Defaults(), "koanf"), nil); err != nil {
		return Config{}, fmt.Errorf("server: configuration: %w", err)
	}
	known := map[string]string{}
	for _, key := range k.Keys() {
		known["TANDEM_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))] = key
	}
	if path != "" {
		own := koanf.New(".")
		if err := own.Load(file.Provider(path), yaml.Parser()); err != nil {
			return Config{}, fmt.Errorf("%w: %s: %w", ErrConfig, path, err)
		}
		for _, key := range own.Keys() {
			if !k.Exists(key) {
				return Config{}, fmt.Errorf("%w: %s: unknown key %q; the keys are in tandem.example.yaml", ErrConfig, path, key)
			}
		}
		if err := k.Merge(own); err != nil {
			return Config{}, fmt.Errorf("server: configuration: %w", err)
		}
	}
	var unknown []string
	err := k.Load(env.Provider(".", env.Opt{
		Prefix:      "TANDEM_",
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			key, ok := known[name]
			if !ok {
				if !clientVariables[name] {
					unknown = append(unknown, name)
				}
				return "", nil
			}
			if _, list := k.Get(key).([]string); list {
				return key, strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
			}
			return key, value
		},
	}), nil)
	if err != nil {
		return Config{}, fmt.Errorf("server: configuration: %w", err)
	}
	if len(unknown) > 0 {
		return Config{}, fmt.Errorf("%w: unknown environment variable %s", ErrConfig, strings.Join(unknown, ", "))
	}
	var c Config
	err = k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result: &c, WeaklyTypedInput: true, TagName: "koanf",
		DecodeHook: mapstructure.ComposeDecodeHookFunc(mapstructure.StringToTimeDurationHookFunc(), mapstructure.StringToSliceHookFunc(",")),
	}})
	if err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return c, nil
}

// clientVariables are read by the device commands, not by the server.
var clientVariables = map[string]bool{"TANDEM_SERVER": true, "TANDEM_HOME": true, "TANDEM_AS": true, "TANDEM_CONFIG": true, "TANDEM_CA": true, "TANDEM_KEY": true, "TANDEM_TENANT": true}

// Validate says what is wrong, all at once.
func (c Config) Validate() error {
	var bad []error
	fault := func(ok bool, format string, args ...any) {
		if !ok {
			bad = append(bad, fmt.Errorf(format, args...))
		}
	}
	fault(c.Data != "", "data: name a directory")
	_, _, err := net.SplitHostPort(c.Listen)
	fault(err == nil, "listen: %q is not host:port", c.Listen)
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		fault(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "", "public_url: %q is not an http or https address", c.PublicURL)
	}
	for _, o := range c.Origins {
		u, err := url.Parse(o)
		fault(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && o == u.Scheme+"://"+strings.ToLower(u.Host),
			"origins: %q is not an origin such as https://app.example", o)
	}
	for _, n := range c.TrustedProxies {
		_, err := netip.ParsePrefix(n)
		fault(err == nil, "trusted_proxies: %q is not a network such as 10.0.0.0/8", n)
	}
	fault(c.TLS.Mode != tlscert.Off || c.loopback(), "tls.mode: off is for loopback only, and listen is %s; set it to files, acme or local, or to proxy when a proxy in front ends TLS", c.Listen)
	fault(!c.TLS.ClientCertificates || c.TLS.Mode != tlscert.Off && c.TLS.Mode != tlscert.Proxy, "tls.client_certificates: TLS must end at this server; tls.mode is %s", c.TLS.Mode)
	fault(c.Engine.Durability == "fsync" || c.Engine.Durability == "relaxed", "engine.durability: %q; use fsync or relaxed", c.Engine.Durability)
	fault(c.Engine.HeadroomMiB >= 16, "engine.headroom_mib: at least 16")
	switch c.Codes.Sender {
	case "dev":
		fault(c.loopback(), "codes.sender: dev prints codes and is for loopback only; set up kannel or webhook")
	case "kannel", "webhook":
		u, err := url.Parse(c.Codes.URL)
		fault(err == nil && u.Host != "", "codes.url: name the gateway's address")
	default:
		fault(false, "codes.sender: %q; use dev, kannel or webhook", c.Codes.Sender)
	}
	if c.Mail.URL != "" {
		_, err := c.Mail.sender()
		fault(err == nil, "mail: %v", err)
	}
	fault(c.Codes.BindingDays > 0, "codes.binding_days: at least 1")
	fault(c.Couplings.CodeTTL > 0, "couplings.code_ttl: more than 0")
	fault(c.Couplings.Lease > 0, "couplings.lease: more than 0")
	fault(c.Couplings.PerNumber > 0, "couplings.per_number: at least 1")
	c.validateServiceNumber(fault)
	switch c.Calls.PartialDetails {
	case call.PartialConfirm, call.PartialAuto, call.PartialOff:
	default:
		fault(false, "calls.partial_details: %q; use confirm, auto or off", c.Calls.PartialDetails)
	}
	fault(c.Calls.Lease >= time.Second, "calls.lease: at least 1s")
	fault(c.Calls.Rescan >= time.Second, "calls.rescan: at least 1s")
	fault(c.Calls.InvitesPerHour >= 1, "calls.invites_per_hour: at least 1; without invitations: calls.invite_delay: -1s")
	fault(c.Calls.AnswerEvery >= 0 && c.Calls.AnswerEvery <= time.Second, "calls.answer_every: from 0s to 1s")
	c.Evidence.validate(fault)
	c.Push.validate(fault)
	c.Texts.validate(fault)
	c.Profiles.validate(fault)
	c.Maps.validate(fault)
	c.Payments.validate(fault)
	c.validateSIP(fault)
	fault(c.Sessions.Linger%time.Second == 0 && c.Sessions.LingerMax%time.Second == 0, "sessions.linger, sessions.linger_max: whole seconds")
	fault(c.Sessions.Linger >= 0 && c.Sessions.LingerMax >= c.Sessions.Linger, "sessions.linger_max: at least sessions.linger")
	fault(c.Files.MaxMiB > 0 && c.Files.SessionMiB >= c.Files.MaxMiB, "files.session_mib: at least files.max_mib, which is at least 1")
	c.Files.S3.validate(c.Engine, fault)
	for _, n := range c.Webhooks.Networks {
		_, err := netip.ParsePrefix(n)
		fault(err == nil, "webhooks.networks: %q is not a network such as 10.0.0.0/8", n)
	}
	fault(c.Webhooks.Timeout >= time.Second && c.Webhooks.Timeout <= time.Minute, "webhooks.timeout: from 1s to 1m")
	fault(c.Webhooks.Retention >= time.Hour && c.Webhooks.GiveUp >= time.Hour, "webhooks.retention, webhooks.give_up: at least 1h")
	for _, n := range c.Overlays.Networks {
		_, err := netip.ParsePrefix(n)
		fault(err == nil, "overlays.networks: %q is not a network such as 10.0.0.0/8", n)
	}
	fault(c.Overlays.Timeout >= 100*time.Millisecond && c.Overlays.Timeout <= 30*time.Second, "overlays.timeout: from 100ms to 30s")
	fault(c.Limits.FrameKiB >= 4 && c.Limits.FrameKiB <= 512, "limits.frame_kib: from 4 to 512")
	fault(c.Limits.Members >= 2, "limits.members: at least 2")
	fault(c.Limits.DeviceConnections >= 1, "limits.device_connections: at least 1")
	fault(c.Limits.PendingPerAddress >= 1, "limits.pending_per_address: at least 1")
	for _, n := range []int{
		c.Limits.AddressPerMinute, c.Limits.DevicePerMinute, c.Limits.KeyPerMinute, c.Limits.TenantPerMinute,
		c.Limits.DeviceReportsPerMinute, c.Limits.ElementReportsPerMinute, c.Limits.PairReportsPerMinute,
	} {
		fault(n >= 0, "limits: %d per minute: not negative; 0 means no limit", n)
	}
	fault(c.Limits.CountedCallers >= 1000, "limits.counted_callers: at least 1000")
	fault(c.Limits.Heartbeat >= time.Second, "limits.heartbeat: at least 1s")
	fault(c.Agents.SignIn >= time.Minute && c.Agents.SignIn <= 30*24*time.Hour, "agents.sign_in: from 1m to 720h")
	fault(c.Retention.Audit >= 0, "retention.audit: not negative; 0 keeps the audit log for ever")
	fault(c.Retention.Lapsed >= 0, "retention.lapsed: not negative")
	fault(c.Calls.Retention >= time.Second && c.Sessions.Retention >= time.Second, "calls.retention, sessions.retention: at least 1s")
	switch c.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		fault(false, "log.level: %q; use debug, info, warn or error", c.Log.Level)
	}
	fault(c.Log.Format == "text" || c.Log.Format == "json", "log.format: %q; use text or json", c.Log.Format)
	if len(bad) > 0 {
		return fmt.Errorf("%w:\n%w", ErrConfig, errors.Join(bad...))
	}
	return nil
}

// originHosts are the hosts of the origins.
func (c Config) originHosts() []string {
	var hosts []string
	for _, o := range c.Origins {
		_, host, _ := strings.Cut(o, "://") // checked by Validate
		hosts = append(hosts, host)
	}
	return hosts
}

func (s S3) validate(e Engine, fault func(ok bool, format string, args ...any)) {
	if s == (S3{}) {
		return
	}
	u, err := url.Parse(s.Endpoint)
	fault(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "", "files.s3.endpoint: %q is not an address such as https://s3.example", s.Endpoint)
	fault(s.Bucket != "" && s.AccessKey != "" && s.SecretKey != "", "files.s3: bucket, access_key and secret_key are needed")
	fault(e.NATS != "", "files.s3: it goes with engine.nats; on one machine files are in the data directory")
}

func (e Evidence) validate(fault func(ok bool, format string, args ...any)) {
	fault(e.Freshness >= time.Second && e.Freshness <= 10*time.Minute, "evidence.freshness: from 1s to 10m")
	for _, n := range e.Networks {
		_, err := netip.ParsePrefix(n)
		fault(err == nil, "evidence.networks: %q is not a network such as 10.0.0.0/8", n)
	}
	fault(slices.Contains(proofs, e.Minimum.Binding), "evidence.minimum.binding: %q; use %s", e.Minimum.Binding, strings.Join(proofs, ", "))
	for name, least := range map[string]call.Evidence{"session": e.Minimum.Session, "invitation": e.Minimum.Invitation} {
		switch least {
		case call.Typed, call.Observed, call.Trusted:
		case call.Passport:
			fault(e.STIRRoots != "", "evidence.minimum.%s: passport needs evidence.stir_roots", name)
		default:
			fault(false, "evidence.minimum.%s: %q; use typed, observed, trusted or passport", name, least)
		}
	}
	e.Features.validate(e.STIRRoots != "", fault)
}

// loopback reports whether nobody else can reach the listener.
func (c Config) loopback() bool {
	return c.Listen != "" && loopback(c.Listen)
}

// limits are what devices are told and held to.
func (c Config) limits() wire.Limits {
	return wire.Limits{
		FrameBytes: c.Limits.FrameKiB << 10, MessagesPerSecond: c.Limits.MessagesPerSecond, MessageBurst: c.Limits.MessageBurst,
		Members: c.Limits.Members, FileBytes: c.Files.MaxMiB << 20, LogEntries: c.Limits.LogEntries,
		ReportTTLSeconds: int(c.Calls.Lease.Seconds()), LingerSeconds: int(c.Sessions.Linger.Seconds()), LingerMaxSeconds: int(c.Sessions.LingerMax.Seconds()),
	}
}

// URL is the address to tell people.
func (c Config) URL() string {
	if c.PublicURL != "" {
		return strings.TrimSuffix(c.PublicURL, "/")
	}
	if c.TLS.Mode == tlscert.Off || c.TLS.Mode == tlscert.Proxy {
		return "http://" + c.Listen
	}
	host, port, _ := net.SplitHostPort(c.Listen)
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			host = "localhost"
		}
	}
	return "https://" + net.JoinHostPort(host, port)
}
