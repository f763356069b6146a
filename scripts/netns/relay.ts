/**
 * A relay for IP packets, for kernels without `netem`: it delays, drops, duplicates and reorders them.
 *
 * Each node's packets to other nodes go into a TUN device, and `socat` sends each as one UDP datagram to the
 * relay. The relay passes it on to the `socat` of the packet's destination. So TCP sees what it would see on
 * a bad cable.
 */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";

import type { Chance } from "../lib/chance.ts";

/** What happens to packets on a link. */
export interface Impairment {
  /** Milliseconds that each packet takes, and the most by which one takes longer or shorter. */
  readonly delayMs: number;
  readonly jitterMs: number;
  /** Probabilities, from 0 to 1. */
  readonly loss: number;
  readonly duplicate: number;
  /** The probability that a packet is held back for `REORDER_MS`, so that later ones overtake it. */
  readonly reorder: number;
}

export const HEALTHY: Impairment = { delayMs: 0, jitterMs: 0, loss: 0, duplicate: 0, reorder: 0 };

/** Long enough that the packets after it arrive first, and short enough that TCP doesn't send it again. */
const REORDER_MS = 20;
/** The most packets held at a time: as in a real network, further ones are lost. */
const HELD_PACKETS_MAX = 20_000;
const IPV4_DESTINATION_AT = 16;
const IPV4_HEADER_BYTES = 20;

/** After how many milliseconds each copy of a packet arrives. Empty: the packet is lost. */
export function arrivalsOf(impairment: Impairment, chance: Chance): number[] {
  const { delayMs, jitterMs, loss, duplicate, reorder } = impairment;
  if (chance.often(loss)) return [];
  const copies = chance.often(duplicate) ? 2 : 1;
  return Array.from({ length: copies }, () => {
    const ms = delayMs + (2 * chance.next() - 1) * jitterMs + (chance.often(reorder) ? REORDER_MS : 0);
    return Math.max(0, ms);
  });
}

/** The destination of an IPv4 packet; null: it is none. */
export function destinationOf(packet: Buffer): string | null {
  if (packet.length < IPV4_HEADER_BYTES || (packet[0] ?? 0) >> 4 !== 4) return null;
  return [...packet.subarray(IPV4_DESTINATION_AT, IPV4_DESTINATION_AT + 4)].join(".");
}

export class Relay {
  readonly #socket: Socket;
  readonly #chance: Chance;
  /** The place with this address, on the inside (the nodes') and on the outside (socat's). */
  readonly #inside: ReadonlyMap<string, { readonly place: string; readonly outside: string }>;
  readonly #outside: ReadonlyMap<string, string>;
  readonly #port: number;
  #impairments: ReadonlyMap<string, Impairment> = new Map();
  #held = 0;
  /** Since the start: packets that were passed on, and those that the relay dropped, doubled or held back. */
  readonly counts = { passed: 0, lost: 0, duplicated: 0, delayed: 0, overtaken: 0 };
  /** Per link: the number of the newest packet that was passed on. */
  readonly #newest = new Map<string, number>();
  #numbered = 0;

  private constructor(
    socket: Socket,
    port: number,
    chance: Chance,
    places: readonly { readonly place: string; readonly inside: string; readonly outside: string }[],
  ) {
    this.#socket = socket;
    this.#port = port;
    this.#chance = chance;
    this.#inside = new Map(places.map(({ place, inside, outside }) => [inside, { place, outside }]));
    this.#outside = new Map(places.map(({ place, outside }) => [outside, place]));
    socket.on("message", (packet, { address }) => {
      this.#onPacket(packet, address);
    });
    // A node's socat that isn't running refuses datagrams. They are lost, as on a real network.
    socket.on("error", () => undefined);
  }

  static async create(
    host: string,
    port: number,
    chance: Chance,
    places: readonly { readonly place: string; readonly inside: string; readonly outside: string }[],
  ): Promise<Relay> {
    const socket = createSocket("udp4");
    socket.bind(port, host);
    await once(socket, "listening");
    return new Relay(socket, port, chance, places);
  }

  /** By link, as `nameOf` gives its name. Links that aren't in it are healthy. */
  set(impairments: ReadonlyMap<string, Impairment>): void {
    this.#impairments = impairments;
  }

  close(): void {
    this.#socket.close();
  }

  #onPacket(packet: Buffer, sender: string): void {
    const from = this.#outside.get(sender);
    const to = this.#inside.get(destinationOf(packet) ?? "");
    if (from === undefined || to === undefined) return;
    const link = nameOf(from, to.place);
    const impairment = this.#impairments.get(link);
    const arrivals = impairment === undefined ? [0] : arrivalsOf(impairment, this.#chance);
    if (arrivals.length === 0 || this.#held >= HELD_PACKETS_MAX) this.counts.lost += 1;
    else if (arrivals.length > 1) this.counts.duplicated += 1;
    if (this.#held >= HELD_PACKETS_MAX) return;
    const number = ++this.#numbered;
    for (const ms of arrivals) {
      if (ms === 0) {
        this.#pass(packet, to.outside, link, number);
        continue;
      }
      this.counts.delayed += 1;
      this.#held += 1;
      setTimeout(() => {
        this.#held -= 1;
        this.#pass(packet, to.outside, link, number);
      }, ms);
    }
  }

  #pass(packet: Buffer, address: string, link: string, number: number): void {
    const newest = this.#newest.get(link) ?? 0;
    if (number < newest) this.counts.overtaken += 1;
    else this.#newest.set(link, number);
    this.counts.passed += 1;
    this.#socket.send(packet, this.#port, address, () => undefined);
  }
}

export function nameOf(from: string, to: string): string {
  return `${from}>${to}`;
}
