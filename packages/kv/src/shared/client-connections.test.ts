import { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import { expect, it } from "vitest";
import { ClientConnections, connectionsMaxFor, descriptorLimit } from "./client-connections.ts";

function socketFrom(remoteAddress: string): Socket {
  return Object.assign(new EventEmitter(), { remoteAddress }) as unknown as Socket;
}

it("clients get the descriptors that the node itself doesn't need [Z18]", () => {
  expect([null, 1_000_000, 4576, 1024, 256, 64].map(connectionsMaxFor)).toEqual([
    4352, 4352, 4352, 800, 32, 8,
  ]);
  if (process.platform === "linux") expect(descriptorLimit()).toBeGreaterThan(0);
});

it("the last places are for programs on this machine, and the refusal is told once [Z18]", () => {
  const told: string[] = [];
  const connections = new ClientConnections(8, (text) => told.push(text));
  const far = Array.from({ length: 8 }, () => connections.admit(socketFrom("10.0.0.7")));
  expect(far.filter(Boolean)).toHaveLength(6);
  const local = Array.from({ length: 4 }, () => connections.admit(socketFrom("127.0.0.1")));
  expect(local).toEqual([true, true, false, false]);
  expect(told).toHaveLength(1);
});

it("an idle connection makes room for another, and a closed one does", () => {
  const connections = new ClientConnections(1);
  const first = socketFrom("127.0.0.1");
  expect(connections.admit(first)).toBe(true);
  let idle: Socket | null = first;
  connections.onMakeRoom(() => {
    if (idle === null) return false;
    connections.forget(idle);
    idle = null;
    return true;
  });
  const second = socketFrom("127.0.0.1");
  expect(connections.admit(second)).toBe(true);
  expect(connections.admit(socketFrom("127.0.0.1"))).toBe(false);
  second.emit("close");
  expect([connections.count, connections.admit(socketFrom("127.0.0.1"))]).toEqual([0, true]);
});
