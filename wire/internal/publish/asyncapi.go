package publish

import (
	"slices"

	"github.com/tandem-call/tandem/wire"
)

// asyncAPI returns the AsyncAPI 3 document: the channels, seen from the server, and the
// messages that go over them.
func asyncAPI() any {
	messages := object{}
	types := func(by side, but ...wire.Type) (list []wire.Type) {
		for _, t := range wire.Types {
			if (t.Sender == by.sender || t.Sender == wire.FromBoth) && !slices.Contains(but, t.Type) {
				list = append(list, t.Type)
			}
		}
		return list
	}
	for _, by := range []side{device, server} {
		for _, name := range types(by) {
			i := slices.IndexFunc(wire.Types, func(t wire.TypeInfo) bool { return t.Type == name })
			messages[string(name)] = object{
				"name":    name,
				"title":   name,
				"summary": wire.Types[i].Summary,
				"payload": object{
					"schemaFormat": "application/schema+json;version=draft-2020-12",
					"schema":       object{"$ref": by.file() + "#/$defs/" + string(name)},
				},
			}
		}
	}
	channels, operations := object{}, object{}
	channel := func(name, address, description string, bindings object, in, out []wire.Type) {
		all := object{}
		for _, t := range slices.Concat(in, out) {
			all[string(t)] = object{"$ref": "#/components/messages/" + string(t)}
		}
		channels[name] = object{"address": address, "description": description, "messages": all, "bindings": bindings}
		operation := func(action, suffix string, list []wire.Type) {
			if len(list) == 0 {
				return
			}
			var refs []object
			for _, t := range list {
				refs = append(refs, object{"$ref": "#/channels/" + name + "/messages/" + string(t)})
			}
			operations[name+suffix] = object{"action": action, "channel": object{"$ref": "#/channels/" + name}, "messages": refs}
		}
		operation("receive", "Receive", in)
		operation("send", "Send", out)
	}
	channel("connect", "/v1/connect",
		"A WebSocket with the subprotocol tandem.v1; each text message is one frame. The server speaks first, with a challenge.",
		object{"ws": object{"method": "GET"}}, types(device), types(server))
	channel("events", "/v1/events",
		"Server-sent events, where WebSocket is blocked: each event \"envelope\" is one frame. The request carries a bearer token.",
		object{"http": object{}}, nil, types(server, wire.TypeChallenge, wire.TypePing, wire.TypePong))
	channel("frames", "/v1/frames",
		"POST one frame with an id; the response is its answer. The request carries a bearer token, and in Tandem-Stream the id of the device's event stream.",
		object{"http": object{}}, types(device, wire.TypeHello, wire.TypePing, wire.TypePong), nil)
	return object{
		"asyncapi": "3.0.0",
		"info": object{
			"title":       "Tandem devices",
			"version":     "1",
			"description": "Frames between devices and the server. Repeating a request with the same id is harmless. Codes of problems and of closing are in docs/reference/problems.md.",
			"license":     object{"name": "Apache-2.0"},
		},
		"defaultContentType": "application/json",
		"channels":           channels,
		"operations":         operations,
		"components":         object{"messages": messages},
	}
}

func (by side) file() string { return string(by.sender) + "_frame.json" }
