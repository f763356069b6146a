/** The flags of `keelson serve` that protect the connections between nodes: TLS, or a shared secret. */
import type { PeerSecurityOptions } from "keelson/transport/tcp";
import { UsageError } from "../shared/errors.ts";

/** Their part of the help. */
export const PEER_HELP = `  --peer-tls-cert FILE, --peer-tls-key FILE, --peer-tls-ca FILE
                         encrypt the connections between nodes, and let in only nodes whose certificate an authority
                         in the --peer-tls-ca file has signed: this node's certificate and key, as PEM. The
                         certificate must have the alternative name URI:keelson:ID, and be for servers and clients.
                         The files are read again every 10 s
  --peer-secret-file FILE
                         let in only nodes that prove to know the secret in FILE (openssl rand -hex 32), the same on
                         every node; without TLS, nothing is encrypted. To replace it, put both on lines of their own
                         first. The file is read again every 10 s
`;

/** For `parseArgs`. */
export const PEER_FLAGS = {
  "peer-tls-cert": { type: "string" },
  "peer-tls-key": { type: "string" },
  "peer-tls-ca": { type: "string" },
  "peer-secret-file": { type: "string" },
} as const;

/** What the flags say, as an option of the server; nothing if none was given. */
export function peerSecurityIn(values: { readonly [Flag in keyof typeof PEER_FLAGS]?: string | undefined }): {
  readonly peerSecurity?: PeerSecurityOptions;
} {
  for (const flag of Object.keys(PEER_FLAGS) as (keyof typeof PEER_FLAGS)[])
    if (values[flag] === "") throw new UsageError(`--${flag} is missing its file`);
  const {
    "peer-tls-cert": cert,
    "peer-tls-key": key,
    "peer-tls-ca": ca,
    "peer-secret-file": secretFile,
  } = values;
  const secret = secretFile === undefined ? {} : { secret: { file: secretFile } };
  if (cert === undefined && key === undefined && ca === undefined)
    return secretFile === undefined ? {} : { peerSecurity: secret };
  if (cert === undefined || key === undefined || ca === undefined)
    throw new UsageError("--peer-tls-cert, --peer-tls-key and --peer-tls-ca belong together: give all three");
  return { peerSecurity: { tls: { cert: { file: cert }, key: { file: key }, ca: { file: ca } }, ...secret } };
}
