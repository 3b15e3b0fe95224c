//! TLS for the streams of modules: a server with the certificate that the module gives, a client that checks the server's.

#![expect(clippy::wildcard_enum_match_arm, reason = "TLS knows many errors, and few have words of their own")]

use std::sync::Arc;

use rustls::client::{ClientConfig, ClientConnection};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ServerConfig, ServerConnection};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, CertificateError, Connection, Error, RootCertStore};

/// Bytes that may wait inside a connection in either direction.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Certificates in one PEM text.
const CERTIFICATES_MAX: usize = 64;

/// What clients share.
pub(super) struct Clients {
    provider: Arc<CryptoProvider>,
    /// For servers with certificates of the web.
    web: Option<ClientConfig>,
}

impl Clients {
    pub(super) fn new() -> Clients {
        Clients { provider: Arc::new(rustls::crypto::ring::default_provider()), web: None }
    }

    /// A client's side of a connection to the server `name`.
    pub(super) fn connect(
        &mut self,
        name: &str,
        authorities: Option<&str>,
        protocols: &[String],
    ) -> Result<Connection, String> {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("\"{name}\" is no name that a certificate can have"))?;
        let mut config = match (authorities, &self.web) {
            (Some(pem), _) => self.config(own_roots(pem)?)?,
            (None, Some(config)) => config.clone(),
            (None, None) => {
                let config = self.config(web_roots())?;
                self.web = Some(config.clone());
                config
            }
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.clone().into_bytes()).collect();
        let mut connection = ClientConnection::new(Arc::new(config), server).map_err(|e| words(&e))?;
        connection.set_buffer_limit(Some(BUFFER_BYTES_MAX));
        Ok(connection.into())
    }

    fn config(&self, roots: RootCertStore) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|e| words(&e))?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// The settings of a server.
    pub(super) fn server(
        &self,
        certificate: &str,
        key: &str,
        protocols: &[String],
    ) -> Result<Arc<ServerConfig>, String> {
        let chain = certificates(certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| "the key is no private key in PEM, with BEGIN PRIVATE KEY".to_owned())?;
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|e| words(&e))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|e| words(&e))?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.clone().into_bytes()).collect();
        Ok(Arc::new(config))
    }
}

/// A server's side of a connection.
pub(super) fn accept(config: &Arc<ServerConfig>) -> Result<Connection, Error> {
    let mut connection = ServerConnection::new(config.clone())?;
    connection.set_buffer_limit(Some(BUFFER_BYTES_MAX));
    Ok(connection.into())
}

/// What both sides agreed on.
pub(super) fn protocol(connection: &Connection) -> Option<String> {
    connection.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned())
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).take(CERTIFICATES_MAX).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err("there is no certificate in PEM, with BEGIN CERTIFICATE".to_owned()),
    }
}

fn own_roots(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|e| format!("an authority cannot be used: {}", words(&e)))?;
    }
    Ok(roots)
}

fn web_roots() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

/// What went wrong, in words for people.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the server's certificate is signed by nobody who is trusted here".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the server's certificate has expired".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the server's certificate is one for another name".to_owned(),
        Error::InvalidCertificate(other) => format!("the server's certificate is refused: {other}"),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            format!("the peer does not speak TLS as it should: {error}")
        }
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) | Error::NoApplicationProtocol => {
            "the peer speaks TLS, but another protocol inside of it".to_owned()
        }
        Error::InconsistentKeys(_) => "the key is not that of the certificate".to_owned(),
        other => format!("TLS: {other}"),
    }
}
