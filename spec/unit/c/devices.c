// Checks of which GPU a worker gets: host/io/local_devices.c.
#define _GNU_SOURCE
#include <stdlib.h>

#include "../../../host/io/local_devices.h"
#include "../../../host/io/page.h"
#include "check.h"

static const struct device_end kWell = {.is_orderly = true}, kBadly = {0};

static uint32_t take(struct devices *devices) {
  uint32_t device = 77;
  EXPECT(devices_take(devices, &device));
  return device;
}

static struct devices *with(const char *visible) {
  setenv("CUDA_VISIBLE_DEVICES", visible, 1);
  return devices_new();
}

static void fewest(void) {
  struct devices *devices = with("4,5,6");
  EXPECT_EQUAL(0, take(devices));
  EXPECT_EQUAL(1, take(devices));
  EXPECT_EQUAL(2, take(devices));
  EXPECT_EQUAL(0, take(devices));
  EXPECT(!devices_give_back(devices, 2, &kWell));
  EXPECT(!devices_give_back(devices, 1, &kBadly));
  EXPECT_EQUAL(1, take(devices));
  EXPECT_EQUAL(2, take(devices));
  EXPECT_EQUAL(1, take(devices));
  devices_free(devices);
}

static void none(void) {
  struct devices *devices = with("");
  EXPECT_EQUAL(DEVICE_NONE, take(devices));
  EXPECT(!devices_give_back(devices, DEVICE_NONE, &(struct device_end){.is_lost = true}));
  EXPECT_EQUAL(DEVICE_NONE, take(devices));
  devices_free(devices);
}

static void lost(void) {
  struct devices *devices = with("0,1");
  struct device_end end = {.is_lost = true};
  uint32_t device;
  for (int i = 0; i < 4; i++) take(devices);
  EXPECT(devices_give_back(devices, 0, &end));
  EXPECT(!devices_give_back(devices, 0, &end));  // that is known
  EXPECT_EQUAL(1, take(devices));
  EXPECT(devices_give_back(devices, 1, &end));
  EXPECT(!devices_take(devices, &device));
  devices_free(devices);
}

static struct page *told(const struct devices *devices, uint32_t device) {
  static struct page page;
  page = (struct page){0};
  devices_tell(devices, device, &page);
  return &page;
}

static void left_behind(void) {
  struct devices *devices = with("0");
  take(devices);
  EXPECT_EQUAL(0, told(devices, 0)->device_before);
  EXPECT(!told(devices, 0)->device_suspect);
  devices_give_back(devices, 0, &(struct device_end){.free_bytes = 1000});
  take(devices);
  EXPECT_EQUAL(1000, told(devices, 0)->device_before);
  EXPECT(told(devices, 0)->device_suspect);
  // With two on it nobody knows what is free without them.
  take(devices);
  EXPECT_EQUAL(0, told(devices, 0)->device_before);
  devices_give_back(devices, 0, &kBadly);  // which had not used it
  devices_give_back(devices, 0, &(struct device_end){.free_bytes = 900, .is_orderly = true});
  take(devices);
  EXPECT_EQUAL(900, told(devices, 0)->device_before);
  EXPECT(!told(devices, 0)->device_suspect);
  devices_free(devices);
}

static const struct check checks[] = {
    {"go to the device with the fewest workers, the first of several", fewest},
    {"go without one where there is none", none},
    {"G5: go to no device that was lost, and nowhere when all were", lost},
    {"G7, G10: learn how the last one has left the device", left_behind},
};
CHECK_MAIN(checks)
