//! What the end of a connection says of the agent itself.

use rumqttc::mqttbytes::v4::ConnectReturnCode;

use super::dial::LinkError;

/// Whether the bus does not take the certificate, or the cluster.
pub fn is_refusal(error: &LinkError) -> bool {
    match error {
        LinkError::Refused(code) => *code != ConnectReturnCode::ServiceUnavailable,
        LinkError::Io(error) => is_alert(error),
        _ => false,
    }
}

/// In TLS 1.3 a server refuses a certificate after the client has finished, so the alert comes with the first read.
fn is_alert(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(alert)) if speaks_of_us(*alert))
}

fn speaks_of_us(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn only_what_is_said_of_the_agent_is_a_refusal() {
        let alert = |alert| LinkError::Io(Error::new(ErrorKind::InvalidData, rustls::Error::AlertReceived(alert)));
        assert!(is_refusal(&LinkError::Refused(ConnectReturnCode::NotAuthorized)));
        assert!(is_refusal(&alert(rustls::AlertDescription::CertificateRevoked)));
        for other in [
            LinkError::Refused(ConnectReturnCode::ServiceUnavailable),
            LinkError::Closed,
            LinkError::Io(ErrorKind::ConnectionReset.into()),
            alert(rustls::AlertDescription::InternalError),
        ] {
            assert!(!is_refusal(&other), "{other}");
        }
    }
}
