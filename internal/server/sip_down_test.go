package server

import "testing"

// TestSIPStoreDown: that a device is not there, and that nobody knows, are two things.
func TestSIPStoreDown(t *testing.T) {
	e := idleEra(t, t.TempDir())
	if may, err := e.mayRegister(t.Context(), "+442079460001", "dev_x"); may || err != nil {
		t.Errorf("a device that is not there: %t, %v", may, err)
	}
	if err := e.engine.Close(); err != nil {
		t.Fatal(err)
	}
	if may, err := e.mayRegister(t.Context(), "+442079460001", "dev_x"); may || err == nil {
		t.Errorf("with the store closed: %t, %v", may, err)
	}
}
