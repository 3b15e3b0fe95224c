//! TLS between nodes: both sides have a certificate, and only its key counts.
//!
//! A certificate is made of the node's own Ed25519 key when the program starts; nobody signs for it but itself. So any
//! certificate with such a key is accepted, the handshake proves that the peer has the key, and who may do what is
//! decided by the key.

#![expect(clippy::wildcard_enum_match_arm, reason = "TLS knows many errors, and few have words of their own")]

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, PublicKeyData};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ServerConfig, ServerConnection};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CertificateError, Connection, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
};

use super::certificate::key_of;
use crate::signaling::io::PeerKey;

/// What both sides say they speak inside of TLS.
const PROTOCOL: &[u8] = b"netserv-gist";

/// The name in our certificate; nobody looks at it.
const NAME: &str = "netserv";

/// Bytes that may wait inside a connection in either direction.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// What this side needs for its handshakes.
pub(super) struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    key: PeerKey,
}

impl Tls {
    /// Makes a certificate of an Ed25519 key (PKCS #8), and the settings for both sides.
    pub(super) fn new(identity: &[u8]) -> Result<Tls, String> {
        let key = PrivatePkcs8KeyDer::from(identity.to_vec());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519)
            .map_err(|e| format!("this is no Ed25519 key in PKCS #8 form: {e}"))?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, NAME);
        let certificate = params.self_signed(&pair).map_err(|e| e.to_string())?;
        let own_key = <[u8; 32]>::try_from(pair.der_bytes()).map_err(|_| "this is no Ed25519 key")?;
        let (client, server) =
            settings(certificate.der().clone(), PrivateKeyDer::Pkcs8(key)).map_err(|e| e.to_string())?;
        Ok(Tls { client: Arc::new(client), server: Arc::new(server), key: PeerKey(own_key) })
    }

    /// The public key that peers see.
    pub(super) fn key(&self) -> PeerKey {
        self.key
    }

    /// The side that opens a connection to `to`.
    pub(super) fn connect(&self, to: std::net::IpAddr) -> Result<Connection, Error> {
        // An address is no name: nothing of it is sent.
        let mut connection = ClientConnection::new(self.client.clone(), ServerName::IpAddress(to.into()))?;
        connection.set_buffer_limit(Some(BUFFER_BYTES_MAX));
        Ok(connection.into())
    }

    /// The side that accepts a connection.
    pub(super) fn accept(&self) -> Result<Connection, Error> {
        let mut connection = ServerConnection::new(self.server.clone())?;
        connection.set_buffer_limit(Some(BUFFER_BYTES_MAX));
        Ok(connection.into())
    }
}

/// Settings without anything that outlives a connection: no tickets, no resumption, no early data.
fn settings(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<(ClientConfig, ServerConfig), Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(AnyEd25519 { algorithms: provider.signature_verification_algorithms });
    let mut client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_client_auth_cert(vec![certificate.clone()], key.clone_key())?;
    client.alpn_protocols = vec![PROTOCOL.to_vec()];
    client.resumption = Resumption::disabled();
    client.enable_early_data = false;
    client.enable_sni = false;
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)?;
    server.alpn_protocols = vec![PROTOCOL.to_vec()];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    server.max_early_data_size = 0;
    Ok((client, server))
}

/// The peer's key, once the handshake is complete.
pub(super) fn peer_key(connection: &Connection) -> Option<PeerKey> {
    key_of(connection.peer_certificates()?.first()?)
}

/// What went wrong, in words for people.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::NoCertificatesPresented => "the peer presented no certificate".to_owned(),
        Error::InvalidCertificate(_) => {
            "the peer's certificate is refused: it must have an Ed25519 key, which it proves to own".to_owned()
        }
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            format!("the peer does not speak TLS as it should: {error}")
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => "the peer wants a certificate".to_owned(),
        Error::AlertReceived(
            AlertDescription::AccessDenied | AlertDescription::BadCertificate | AlertDescription::CertificateUnknown,
        ) => "the peer refuses this side's certificate".to_owned(),
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) | Error::NoApplicationProtocol => {
            "the peer speaks TLS, but another protocol inside of it".to_owned()
        }
        other => format!("TLS: {other}"),
    }
}

/// The verifier alone, for a peer that is made by hand.
#[cfg(test)]
pub(super) fn any_ed25519(provider: &rustls::crypto::CryptoProvider) -> Arc<dyn ServerCertVerifier> {
    Arc::new(AnyEd25519 { algorithms: provider.signature_verification_algorithms })
}

/// Accepts every certificate with an Ed25519 key.
#[derive(Debug)]
struct AnyEd25519 {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyEd25519 {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        key_of(certificate).map(drop).ok_or(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn check_scheme(signature: &DigitallySignedStruct) -> Result<(), Error> {
        let is_ours = signature.scheme == SignatureScheme::ED25519;
        is_ours.then_some(()).ok_or(Error::InvalidCertificate(CertificateError::BadSignature))
    }

    fn verify12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::check_scheme(signature)?;
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::check_scheme(signature)?;
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

impl ServerCertVerifier for AnyEd25519 {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(certificate).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify12(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for AnyEd25519 {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(certificate).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify12(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
