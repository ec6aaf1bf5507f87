/** TLS for the command line: options that name files. */

import { type Command, Option } from 'commander';

export interface ClientTlsOptions {
  tls?: boolean;
  tlsCa?: string;
  tlsCert?: string;
  tlsKey?: string;
}

export function addClientTls(command: Command): Command {
  const more = (flags: string, what: string) => new Option(flags, what).implies({ tls: true });
  return command
    .option('--tls', 'speak TLS')
    .addOption(more('--tls-ca <file>', "trust these authorities instead of the system's (PEM); means --tls"))
    .addOption(more('--tls-cert <file>', 'show the server this certificate (PEM); means --tls'))
    .addOption(more('--tls-key <file>', "the certificate's private key (PEM)"));
}
