import { renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { onTestFinished } from "vitest";
import { ServerTls } from "../tls/server-tls.ts";
import { TestAuthority, type CertificateFields, type Issued } from "./certificates.ts";
import { temporaryDirectory } from "./temporary.ts";

/** How often tests look for changed files. */
export const RELOAD_MS_IN_TESTS = 20;

/** The files of a server's certificate, and the authorities behind them. */
export class TlsFiles {
  readonly authority = new TestAuthority();
  readonly clients = new TestAuthority("authority for clients");
  readonly log: string[] = [];
  readonly #directory = temporaryDirectory();

  constructor(fields: CertificateFields = {}) {
    this.put(this.authority.issue(fields));
    this.write("client-ca", this.clients.cert);
  }

  path(name: string): string {
    return path.join(this.#directory, name);
  }

  write(name: string, text: string, mode = 0o600): string {
    const file = this.path(name);
    writeFileSync(`${file}.new`, text, { mode });
    renameSync(`${file}.new`, file);
    return file;
  }

  put({ cert, key }: Issued): void {
    this.write("cert", cert);
    this.write("key", key);
  }

  async open(requiresCertificate = false): Promise<ServerTls> {
    const clientCa = requiresCertificate ? this.path("client-ca") : null;
    const files = { cert: this.path("cert"), key: this.path("key"), clientCa };
    const tls = await ServerTls.open(files, (_, text) => this.log.push(text), RELOAD_MS_IN_TESTS);
    onTestFinished(() => {
      tls.close();
    });
    return tls;
  }
}
