package wire

import "time"

// Tenant is one of those who share a server and see nothing of each other.
type Tenant struct {
	ID      TenantID  `json:"id"`
	Name    string    `json:"name,omitempty"`
	Hosts   []string  `json:"hosts"`
	Created time.Time `json:"created"`
}

// TenantRequest adds a tenant, or changes one (over the operator's socket only).
type TenantRequest struct {
	Name string `json:"name,omitempty" maxLength:"128" doc:"For the list"`
	// Hosts are host names without a port; the list replaces the one before.
	Hosts []string `json:"hosts,omitempty" maxItems:"16" doc:"Hosts by which its devices reach the server"`
}

// TenantList lists tenants, without the default one.
type TenantList struct {
	Tenants []Tenant `json:"tenants"`
}

// TenantHeader names the tenant that a request over the operator's socket is about; without
// it, the default one. Elsewhere credentials say whose they are, and the header is not read.
const TenantHeader = "Tandem-Tenant"

// SecretsRotation changes the server's secret (over the operator's socket only).
type SecretsRotation struct {
	// AtOnce: what was made with the secret before ends now, not within a quarter of an hour.
	AtOnce bool `json:"at_once,omitempty" doc:"End tokens and codes that are on their way, too"`
}
