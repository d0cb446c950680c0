package googleid

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// WriteKey makes a new key for a service account and writes its JSON key file to path, readable by the owner only. Google's
// libraries take it as application default credentials; tokenURI is the /token of the sandbox. Earlier keys stay valid.
func (d *Directory) WriteKey(email, path, tokenURI string) error {
	if !IsServiceAccount(email) {
		return fmt.Errorf("key for %s: only service accounts (…%s) have keys", email, serviceAccountSuffix)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	id := make([]byte, 20)
	_, _ = rand.Read(id)
	if err := d.addKey(email, hex.EncodeToString(id), public); err != nil {
		return err
	}
	_, domain, _ := strings.Cut(email, "@")
	project, _, _ := strings.Cut(domain, ".")
	b, err := json.MarshalIndent(map[string]string{
		"type": "service_account", "project_id": project, "client_email": email, "client_id": "100000000000000000000",
		"private_key_id": hex.EncodeToString(id), "token_uri": tokenURI, "universe_domain": "googleapis.com",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
	}, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, b, 0o600, renameio.WithTempDir(filepath.Dir(path)))
}

func (d *Directory) addKey(email, id string, public []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.state.Principals[email]
	if p == nil {
		return fmt.Errorf("key for %s: %w", email, errUnknown)
	}
	if p.Keys == nil {
		p.Keys = map[string]string{}
	}
	p.Keys[id] = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
	return d.save()
}
