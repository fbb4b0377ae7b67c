//! From when until when a certificate is valid.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use starling_core::time::Time;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::TrustError;

/// Hundredths of a certificate's life after which a node has asked for a newer one at the latest.
pub const RENEWED_AT_PERCENT: u32 = 50;

/// The serial number of a certificate, in hexadecimal.
///
/// # Errors
/// It is not an X.509 certificate.
pub fn serial_of(certificate: &CertificateDer<'_>) -> Result<String, TrustError> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| TrustError::Certificate("it is not an X.509 certificate"))?;
    Ok(parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The life of a certificate, by the wall clock; X.509 counts whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The first moment at which it is valid.
    pub begins: Time,
    /// The moment from which it is not valid any more.
    pub ends: Time,
}

impl Life {
    /// The life of this certificate.
    ///
    /// # Errors
    /// It is not an X.509 certificate.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Life, TrustError> {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|_| TrustError::Certificate("it is not an X.509 certificate"))?;
        let at = |seconds: i64| Time::from_millis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000));
        let validity = parsed.validity();
        // The last second counts (RFC 5280, section 4.1.2.5).
        let ends = validity.not_after.timestamp().saturating_add(1);
        Ok(Life { begins: at(validity.not_before.timestamp()), ends: at(ends) })
    }

    /// How long it is.
    pub fn length(&self) -> Duration {
        self.ends.since(self.begins)
    }

    /// How much of it is left.
    pub fn left(&self, wall: Time) -> Duration {
        self.ends.since(wall)
    }

    /// Whether the certificate is valid.
    pub fn holds(&self, wall: Time) -> bool {
        self.begins <= wall && wall < self.ends
    }

    /// Hundredths of it that have passed, 100 at the most.
    pub fn percent_used(&self, wall: Time) -> u64 {
        let length = self.length().as_nanos().max(1);
        let passed = wall.since(self.begins).as_nanos().saturating_mul(100) / length;
        u64::try_from(passed).unwrap_or(100).min(100)
    }

    /// The moment at which so many thousandths of it have passed.
    pub fn at(&self, thousandths: u32) -> Time {
        self.begins + self.length() / 1_000 * thousandths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_has_parts_and_an_end() {
        let life = Life { begins: Time::from_millis(10_000), ends: Time::from_millis(20_000) };
        let at = |seconds: u64| Time::from_millis(seconds * 1_000);
        assert_eq!(life.length(), Duration::from_secs(10));
        assert_eq!([9, 10, 15, 19, 20, 99].map(|s| life.percent_used(at(s))), [0, 0, 50, 90, 100, 100]);
        assert_eq!([9, 10, 19, 20].map(|s| life.holds(at(s))), [false, true, true, false]);
        assert_eq!([life.left(at(12)), life.left(at(30))], [Duration::from_secs(8), Duration::ZERO]);
        assert_eq!((life.at(0), life.at(625), life.at(1_000)), (at(10), Time::from_millis(16_250), at(20)));
        let nothing = Life { begins: at(5), ends: at(5) };
        assert_eq!((nothing.percent_used(at(4)), nothing.percent_used(at(6))), (0, 100));
    }
}
