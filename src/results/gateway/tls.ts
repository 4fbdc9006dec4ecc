/** PEM texts, as a Secret keeps them. */
export interface Authority {
  caCertPem: string;
  caKeyPem: string;
}

export interface ServingMaterial {
  certPem: string;
  keyPem: string;
}

export type TlsMaterial = Authority & ServingMaterial;
