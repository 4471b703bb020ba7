// Package atlas holds what maps are made of (SPEC F4, F5): the outline of the world, which is
// built in, and the operator's tiles, from a service or from a PMTiles file.
//
// An [Atlas] draws a place as a PNG picture for devices that draw no map ([Atlas.Picture]),
// and serves the outline and the file to the page, which draws maps itself ([Atlas.Mount]).
//
// The outline is Natural Earth's at 1:110 million, which is in the public domain, as
// GeoJSON (RFC 7946) with two decimals; web/scripts/outline.mjs makes it.
package atlas
