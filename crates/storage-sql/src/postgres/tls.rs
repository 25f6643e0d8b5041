//! Encryption to the server: where the URL's `sslmode` asks for it, with certificates always checked.

use std::{future::poll_fn, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc::UnboundedSender,
};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Notification};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::OpenError;

/// How a connection is encrypted.
#[derive(Clone)]
pub(crate) enum Tls {
    Off,
    On(MakeRustlsConnect),
}

impl Tls {
    /// What the URL asks for, and the URL without what only we read (`sslrootcert`, a PEM file of authorities to trust
    /// instead of the public ones). `verify-ca` and `verify-full` are what `require` does here.
    pub(crate) fn of(url: &str) -> Result<(String, Self), OpenError> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut kept, mut on, mut authorities) = (Vec::new(), false, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", "require" | "verify-ca" | "verify-full")) => {
                    on = true;
                    kept.push("sslmode=require");
                }
                Some(("sslrootcert", file)) => authorities = Some(file.replace("%2F", "/")),
                _ => kept.push(pair),
            }
        }
        let url = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
        let tls = if on { Tls::On(connector(authorities.as_deref())?) } else { Tls::Off };
        Ok((url, tls))
    }

    /// Connects; notifications go to `heard`, if anybody hears them.
    pub(crate) async fn connect(
        &self,
        config: &Config,
        heard: Option<UnboundedSender<Notification>>,
    ) -> Result<Client, tokio_postgres::Error> {
        Ok(match self {
            Tls::Off => {
                let (client, connection) = config.connect(NoTls).await?;
                tokio::spawn(drive(connection, heard));
                client
            }
            Tls::On(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                tokio::spawn(drive(connection, heard));
                client
            }
        })
    }
}

/// Ends with its client, which is told why it broke.
async fn drive<S, T>(mut connection: Connection<S, T>, heard: Option<UnboundedSender<Notification>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let (AsyncMessage::Notification(notification), Some(heard)) = (message, &heard) {
            // Whoever listened is about to drop the client, too.
            let _ = heard.send(notification);
        }
    }
}

fn connector(authorities: Option<&str>) -> Result<MakeRustlsConnect, OpenError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            let wrong = |error: String| OpenError::Authorities { path: file.into(), error };
            for certificate in
                CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))?
            {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| OpenError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_read_is_taken_out_of_the_url() {
        for (url, kept, on) in [
            ("postgres://a@h/d", "postgres://a@h/d", false),
            (
                "postgres://a@h/d?sslmode=disable&options=x",
                "postgres://a@h/d?sslmode=disable&options=x",
                false,
            ),
            ("postgres://a@h/d?sslmode=verify-full", "postgres://a@h/d?sslmode=require", true),
            (
                "postgres://a@h/d?connect_timeout=3&sslmode=require",
                "postgres://a@h/d?connect_timeout=3&sslmode=require",
                true,
            ),
        ] {
            let (url, tls) = Tls::of(url).unwrap();
            assert_eq!((url.as_str(), matches!(tls, Tls::On(_))), (kept, on));
        }
        assert!(Tls::of("postgres://h/d?sslmode=require&sslrootcert=/nowhere").is_err());
    }
}
