// SPDX-License-Identifier: Apache-2.0
// A test is a function, a check is a macro. No framework: one would have to be fetched, and a fresh machine without
// network must be able to build and run these tests.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace check {

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

struct Register {
  Register(const char* name, void (*body)()) { tests().push_back({name, body}); }
};

/// Failed checks so far; the first few of a test are printed.
inline int failures = 0;

inline void fail(const char* file, int line, const std::string& what) {
  ++failures;
  if (failures <= 20) std::cerr << file << ":" << line << ": " << what << "\n";
}

/// What the running checks are about ("float, k = 17"), for the message of one that fails in a loop.
inline std::string context;

inline std::string in_context(const std::string& what) {
  return context.empty() ? what : what + "   [" + context + "]";
}

/// Of how many cases a test runs one: WARPFACTOR_TEST_EVERY, for emulators, and 1 where it is not set.
inline int one_case_of() {
  static const int every = [] {
    const char* const given = std::getenv("WARPFACTOR_TEST_EVERY");
    return given == nullptr ? 1 : std::max(std::atoi(given), 1);
  }();
  return every;
}
inline std::int64_t met_cases = 0, taken_cases = 0;  ///< of the running test

/// Whether a test is to run this of its many cases. A case that runs is as large, and as strict, as ever. The number of
/// cases between two that run should have no factor in common with the lengths of the loops: then they differ in all.
inline bool takes_case() {
  const bool taken = met_cases++ % one_case_of() == 0;
  taken_cases += taken ? 1 : 0;
  return taken;
}

template <class A, class B>
void equal(const A& a, const B& b, const char* text, const char* file, int line) {
  if (a == b) return;
  std::ostringstream what;
  what.precision(17);
  what << text << ": " << a << " != " << b;
  fail(file, line, in_context(what.str()));
}

template <class A, class B, class C>
void close(A a, B b, C tolerance, const char* text, const char* file, int line) {
  const long double distance = std::abs(static_cast<long double>(a) - static_cast<long double>(b));
  if (distance <= static_cast<long double>(tolerance)) return;  // false for NaN
  std::ostringstream what;
  what.precision(17);
  what << text << ": " << a << " and " << b << " are " << distance << " apart, more than " << tolerance;
  fail(file, line, in_context(what.str()));
}

template <class Exception>
void throws(const std::function<void()>& f, const std::string& part, const char* text, const char* file, int line) {
  try {
    f();
  } catch (const Exception& error) {
    if (std::string(error.what()).find(part) == std::string::npos) {
      fail(file, line, in_context(std::string(text) + ": \"" + error.what() + "\" does not name \"" + part + "\""));
    }
    return;
  } catch (const std::exception& error) {
    fail(file, line, in_context(std::string(text) + ": threw another exception: " + error.what()));
    return;
  }
  fail(file, line, in_context(std::string(text) + ": did not throw"));
}

}  // namespace check

#define TEST(name)                                             \
  static void name();                                          \
  static const ::check::Register register_##name{#name, name}; \
  static void name()

#define CHECK(condition) \
  ((condition) ? void() : ::check::fail(__FILE__, __LINE__, ::check::in_context("failed: " #condition)))
#define CHECK_EQ(a, b) ::check::equal(a, b, #a " == " #b, __FILE__, __LINE__)
#define CHECK_CLOSE(a, b, tolerance) ::check::close(a, b, tolerance, #a " ~ " #b, __FILE__, __LINE__)
/// The expression throws `Exception`, and the text of it contains `part`.
#define CHECK_THROWS(Exception, part, ...) \
  ::check::throws<Exception>([&] { (void)(__VA_ARGS__); }, part, #__VA_ARGS__, __FILE__, __LINE__)
