//! The one S3 client of the house: AWS or any server that speaks its protocol.

use std::fmt;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials as KeyPair, ProvideCredentials, Region, RequestChecksumCalculation,
    ResponseChecksumValidation,
};

use super::error::{StorageError, chain};

/// Tries of one request inside the SDK. It absorbs a blip; outages are for [`Patience`](super::Patience), which
/// the job can see, log and limit.
const SDK_ATTEMPTS: u32 = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Until the first byte of an answer, the sending of a body included (at most one part of
/// [`S3Store`](super::S3Store), so a link of 0.3 MB/s still passes). A body that stalls
/// is ended by the SDK's stalled-stream protection.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How to reach S3. What is absent here is taken from the environment and the profile, as by the AWS CLI.
#[derive(Clone, Debug, Default)]
pub struct S3Config {
    /// Endpoint URL of a server that isn't AWS; else `AWS_ENDPOINT_URL` is honoured.
    pub endpoint: Option<String>,
    /// Region; else the environment's, else `us-east-1`.
    pub region: Option<String>,
    /// `http://host/bucket/key` instead of `http://bucket.host/key`; true by default where an endpoint is given.
    pub path_style: Option<bool>,
    /// Instead of those that the standard chain finds.
    pub credentials: Option<Credentials>,
}

/// A pair of keys. `Debug` hides the secret.
#[derive(Clone)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_key: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Credentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

impl S3Config {
    /// Makes the client and proves that the standard credentials chain finds credentials: a missing
    /// key shall be one clear line at the start, not a retry without end later.
    ///
    /// # Errors
    /// [`StorageError::Denied`] without credentials.
    pub async fn client(&self) -> Result<Client, StorageError> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let endpoint = self
            .endpoint
            .clone()
            .or_else(|| variable("AWS_ENDPOINT_URL_S3"))
            .or_else(|| variable("AWS_ENDPOINT_URL"));
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        } else if endpoint.is_some() && variable("AWS_REGION").is_none() {
            // Without this the SDK asks EC2's metadata service, which isn't there, and waits.
            loader = loader.region(Region::new("us-east-1"));
        }
        if let Some(keys) = &self.credentials {
            let keys = (keys.access_key.as_str(), keys.secret_key.as_str());
            loader =
                loader.credentials_provider(KeyPair::new(keys.0, keys.1, None, None, "eigenflow"));
        }
        let shared = loader.load().await;

        let credentials = match shared.credentials_provider() {
            Some(provider) => provider.provide_credentials().await.err(),
            None => None,
        };
        if let Some(error) = credentials {
            return Err(StorageError::Denied {
                object: "S3".into(),
                reason: format!(
                    "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; {}",
                    chain(&error)
                ),
            });
        }

        let path_style = self.path_style.unwrap_or(endpoint.is_some());
        let region = shared.region().cloned();
        let mut config = aws_sdk_s3::config::Builder::from(&shared);
        config.set_endpoint_url(endpoint.or_else(|| shared.endpoint_url().map(Into::into)));
        let config = config
            .region(region.unwrap_or_else(|| Region::new("us-east-1")))
            .force_path_style(path_style)
            // Many servers know only the checksums that a request requires.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(RetryConfig::standard().with_max_attempts(SDK_ATTEMPTS))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .read_timeout(READ_TIMEOUT)
                    .build(),
            )
            .build();
        Ok(Client::from_conf(config))
    }
}
