/* crc16.h — CRC16-XMODEM and the slot of a key. Source: Redis cluster specification, "Key
 * distribution model". */
#ifndef DROVER_BASE_CRC16_H
#define DROVER_BASE_CRC16_H

#include <stddef.h>
#include <stdint.h>

uint16_t crc16(const void *data, size_t size);

/* Slot 0..16383 of a key of any bytes; a non-empty {tag} alone is hashed when there is one. */
uint16_t key_slot(const void *key, size_t size);

#endif
