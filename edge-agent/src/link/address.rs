//! Where the broker is, and whether it may be connected to.

/// Where the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
    /// Whether it is reached over TLS.
    pub tls: bool,
}

impl Address {
    /// Reads `mqtts://HOST:PORT`, or `mqtt://HOST:PORT` for a bus without TLS.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(url: &str) -> Result<Address, String> {
        let wrong = || format!("bus address {url:?} must be mqtts://HOST:PORT");
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let tls = match scheme {
            "mqtts" => true,
            "mqtt" => false,
            _ => return Err(wrong()),
        };
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (!host.is_empty()).then(|| Address { host: host.to_owned(), port, tls }).ok_or_else(wrong)
    }
}

impl Address {
    /// Whether it may be connected to: without TLS only on loopback, and only when that was asked for.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn permitted(&self, insecure: bool) -> Result<(), String> {
        let loopback = self.host == "localhost" || self.host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        if self.tls || (insecure && loopback) {
            return Ok(());
        }
        let Address { host, port, .. } = self;
        Err(format!("the bus at {host}:{port} has no TLS: give mqtts://HOST:PORT; --insecure-bus allows mqtt:// on loopback only"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_without_tls_is_for_loopback_and_to_be_asked_for() {
        let permitted = |url: &str, insecure| Address::parse(url).unwrap().permitted(insecure).is_ok();
        assert!(
            permitted("mqtts://10.0.0.1:8883", false) && permitted("mqtt://127.0.0.1:1883", true) && permitted("mqtt://[::1]:1883", true)
        );
        assert!(!permitted("mqtt://127.0.0.1:1883", false) && !permitted("mqtt://10.0.0.1:1883", true));
    }

    #[test]
    fn a_bus_address_is_read_or_explained() {
        assert_eq!(Address::parse("mqtts://10.0.0.1:8883"), Ok(Address { host: "10.0.0.1".into(), port: 8883, tls: true }));
        assert_eq!(Address::parse("mqtt://[::1]:1883/"), Ok(Address { host: "::1".into(), port: 1883, tls: false }));
        for wrong in ["", "mqtt://", "mqtts://", "10.0.0.1:1883", "mqtt://host", "mqtt://host:x", "https://host:1"] {
            assert_eq!(Address::parse(wrong), Err(format!("bus address {wrong:?} must be mqtts://HOST:PORT")));
        }
    }
}
