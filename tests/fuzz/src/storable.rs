//! A chat completion's request and the reply to it: what isn't what was asked for is not stored.

use serde_json::{Deserializer, Value};

use crate::llm::FormatId;
use crate::llm::storable::{check_fitting, check_storable};

pub(crate) fn check(bytes: &[u8]) {
    let mut documents = Deserializer::from_slice(bytes).into_iter::<Value>();
    let (Some(Ok(request)), Some(Ok(reply))) = (documents.next(), documents.next()) else { return };
    let format = FormatId::OpenAiChat.format();
    let (Ok(chat), Ok(answer)) = (format.read_request(request), format.read_reply(reply)) else { return };
    if check_storable(&answer, &chat).is_ok() {
        assert_eq!(check_fitting(&answer, &chat), Ok(()));
        assert_eq!(answer.lossy, None);
    }
}
