//! Harness of the tests: real servers, real links, independent observers.
